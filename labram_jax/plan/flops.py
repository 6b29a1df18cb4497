"""The products of a stage's programs, counted from the configuration: compilers count a loop's body only once."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from labram_jax.config import (
    ELECTRODE_ROWS,
    FREQUENCY_BINS,
    PATCH_SAMPLES,
    TIME_ROWS,
    AnyStageConfig,
    ClassifierConfig,
    ComputeConfig,
    DataConfig,
    EncoderConfig,
    FinetuningStageConfig,
    PretrainingStageConfig,
    TokenizerConfig,
    TokenizerStageConfig,
)

NORM_GROUPS = 4
TRAINING, SEVERAL = "train_step", "train_steps"  # programs have the names of the stage's functions
Pass = Literal["forward", "backward", "recomputed"]
ROW_TILES = {"splash": 128}  # attention kernels that fill rows up to more than a product does


@dataclass(frozen=True)
class Product:
    """`batch` products of [rows, inner] with [inner, columns].

    Attributes:
        part: of the model.
        when: the pass it belongs to; what is recomputed is work, but none that the model asks for.
        exact: in float32 whatever the compute type.
        row_tile: rows are filled up to a multiple of this.
    """

    part: str
    rows: int
    inner: int
    columns: int
    batch: int = 1
    when: Pass = "forward"
    exact: bool = False
    row_tile: int = 8

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.rows * self.inner * self.columns

    def tiled_flops(self, tile: int) -> int:
        """With inner, columns and rows as whole tiles: what a systolic array works on."""
        if tile == 1:
            return self.flops
        inner, columns = (-(-size // tile) * tile for size in (self.inner, self.columns))
        return 2 * self.batch * (-(-self.rows // self.row_tile) * self.row_tile) * inner * columns


@dataclass(frozen=True)
class Shape:
    """A batch as the products see it: `rows` of `slots` patch slots and `segments` class tokens."""

    rows: int
    slots: int
    segments: int

    @property
    def tokens(self) -> int:
        return self.slots + self.segments

    @property
    def patches(self) -> int:
        return self.rows * self.slots


def products_of(program: str, config: AnyStageConfig, tokenizer: TokenizerConfig | None) -> list[Product]:
    """All products of a batch in one of the stage's programs: `TRAINING`, "evaluate_batch" or "start_codebook".

    Those of `SEVERAL` are of all its batches. Pretraining needs the configuration of the tokenizer that labels.
    """
    if program == SEVERAL:
        return config.loop.steps_per_dispatch * products_of(TRAINING, config, tokenizer)
    shape, trained = shape_of(config.data), program == TRAINING
    if isinstance(config, PretrainingStageConfig):
        return list(_pretraining(config, tokenizer, shape, trained))
    if isinstance(config, FinetuningStageConfig):
        return list(_finetuning(config, shape, trained))
    if program == "start_codebook":
        return list(_start_codebook(config, shape))
    return list(_tokenizer(config.model, config.compute, shape, trained))


def shape_of(data: DataConfig) -> Shape:
    return Shape(data.batch_rows, data.patch_slots, data.segments)


def _pretraining(
    config: PretrainingStageConfig, tokenizer: TokenizerConfig, shape: Shape, trained: bool
) -> Iterator[Product]:
    labelling = [
        *_encoder(tokenizer.encoder, config.compute, shape, shape, trained=False),
        *_latents(tokenizer, shape, trained=False),
    ]
    yield from (dataclasses.replace(product, part="labelling") for product in labelling)
    views = dataclasses.replace(shape, rows=2 * shape.rows)
    yield from _encoder(config.model.encoder, config.compute, shape, views, trained)
    codes = _whole_parts(tokenizer.quantizer.codes, config.compute.code_chunk)
    width = config.model.encoder.width
    yield from linear("code head", shape.patches, width, codes, trained=trained, recomputed=trained)


def _tokenizer(model: TokenizerConfig, compute: ComputeConfig, shape: Shape, trained: bool) -> Iterator[Product]:
    yield from _encoder(model.encoder, compute, shape, shape, trained)
    yield from _latents(model, shape, trained, chunk=compute.code_chunk)
    width = model.decoder.width
    decoder = [
        *linear("decoder", shape.patches, model.quantizer.dimension, width, trained=trained),
        *_transformer(model.decoder, compute, shape, trained),
    ]
    predicted = [PATCH_SAMPLES, PATCH_SAMPLES, *([FREQUENCY_BINS] if model.log_amplitude else [])]
    for outputs in predicted:
        decoder += linear("decoder", shape.patches, width, width, trained=trained)
        decoder += linear("decoder", shape.patches, width, outputs, trained=trained)
    yield from (dataclasses.replace(product, part="decoder") for product in decoder)
    spectra = 2 if model.log_amplitude else 1
    yield Product("spectra", shape.patches, PATCH_SAMPLES, PATCH_SAMPLES, spectra, exact=True)


def _start_codebook(config: TokenizerStageConfig, shape: Shape) -> Iterator[Product]:
    model, turns = config.model, config.codebook.kmeans_iterations
    yield from _encoder(model.encoder, config.compute, shape, shape, trained=False)
    yield from _latents(model, shape, trained=False, chunk=config.compute.code_chunk, turns=turns)


def _finetuning(config: FinetuningStageConfig, shape: Shape, trained: bool) -> Iterator[Product]:
    encoder, inputs = config.model.encoder, trained and config.trainable in ("all", "blocks", "lora")
    embedding = inputs and config.trainable == "all"
    if config.trainable == "lora":
        batches = config.optimizer.accumulate if trained else 1
        yield from batches * list(_updates(encoder, config.lora_rank, inputs))
        encoder = dataclasses.replace(encoder, layer_scale=0.0)  # a scale that stays needs nothing again
    yield from _encoder(encoder, config.compute, shape, shape, inputs, embedding)
    yield from _heads(config.model, shape, trained, inputs, embedding)


def _updates(config: EncoderConfig, rank: int, trained: bool) -> Iterator[Product]:
    """Low-rank updates of the blocks' kernels, multiplied out."""
    width, inner = config.width, config.width * config.mlp_ratio
    for rows, columns in ((width, 3 * width), (width, width), (width, inner), (inner, width)):
        one = Product("updates", rows, rank, columns, config.depth, exact=True)
        yield one
        if trained:
            yield from 2 * [dataclasses.replace(one, when="backward")]


def _heads(model: ClassifierConfig, shape: Shape, trained: bool, inputs: bool, embedding: bool) -> Iterator[Product]:
    """Readout and linear maps; `inputs`: the gradient goes on into the encoder; `embedding`: through all of it."""
    windows, width, outputs = shape.rows * shape.segments, model.encoder.width, model.outputs
    by_electrode = model.pooling == "electrodes"
    seen = ELECTRODE_ROWS * width if by_electrode else width
    filters = model.encoder.filters
    beside = ((1, False),) * model.amplitude + ((filters, embedding),) * model.filters
    for features, learnt in ((width, inputs),) * by_electrode + beside:
        yield from _electrode_means(shape, features, learnt)
        yield from linear("classifier", windows, ELECTRODE_ROWS, outputs, trained=trained, inputs=False, exact=True)
    # Of electrodes' means the norm is trained with the head.
    yield from linear("classifier", windows, seen, outputs, trained=trained, inputs=inputs)
    for features, learnt in beside:
        yield from linear("classifier", windows, ELECTRODE_ROWS * features, outputs, trained=trained, inputs=learnt)


def _electrode_means(shape: Shape, features: int, trained: bool) -> Iterator[Product]:
    places = shape.segments * ELECTRODE_ROWS
    one = Product("classifier", places, shape.slots, features, shape.rows, exact=True)
    yield one
    if trained:
        yield dataclasses.replace(one, rows=shape.slots, inner=places, when="backward")


def _latents(
    model: TokenizerConfig, shape: Shape, trained: bool, chunk: int = 256, turns: int = 1
) -> Iterator[Product]:
    """Latent head, and nearest codes `turns` times, both float32."""
    width, dimension = model.encoder.width, model.quantizer.dimension
    for columns in (width, dimension):
        yield from linear("codebook", shape.patches, width, columns, trained=trained, exact=True)
    codes = _whole_parts(model.quantizer.codes, chunk)
    yield Product("codebook", shape.patches, dimension, codes, turns, exact=True)


def _encoder(
    config: EncoderConfig,
    compute: ComputeConfig,
    embedded: Shape,
    shape: Shape,
    trained: bool,
    embedding: bool | None = None,
) -> Iterator[Product]:
    """An encoder that embeds the rows of one shape and transforms those of another (pretraining: both views).

    `embedding`: whether what comes before the blocks is trained with them; it is unless this says otherwise.
    """
    embedding = trained if embedding is None else embedding
    width, patches, part = config.width, embedded.patches, "embedding"
    yield from linear(part, patches, PATCH_SAMPLES, width, trained=embedding, inputs=False)
    for _ in range(2):
        yield from linear(part, patches, width, width, trained=embedding)
    for _ in range(3 * 2):  # three group norms, each with a mean and a variance: to groups, and back to features
        for inner, columns in ((width, NORM_GROUPS), (NORM_GROUPS, width)):
            yield Product(part, patches, inner, columns, exact=True)
            if embedding:
                yield Product(part, patches, columns, inner, when="backward", exact=True)
    yield from _transformer(config, compute, shape, trained, embedding)


def _transformer(
    config: EncoderConfig, compute: ComputeConfig, shape: Shape, trained: bool, addresses: bool | None = None
) -> Iterator[Product]:
    """Addresses, which are trained with the blocks unless `addresses` says otherwise, and blocks."""
    addresses = trained if addresses is None else addresses
    for count, table in (
        (shape.rows * shape.segments, ELECTRODE_ROWS),
        (shape.patches, ELECTRODE_ROWS),
        (shape.patches, TIME_ROWS),
    ):
        yield from linear("addresses", count, table, config.width, trained=addresses, inputs=False, exact=True)
    # One block's products as many times: dataclasses are cheap, and every block is the same.
    block = list(_block(config, compute, shape, trained))
    for _ in range(config.depth):
        yield from block


def _block(config: EncoderConfig, compute: ComputeConfig, shape: Shape, trained: bool) -> Iterator[Product]:
    width, inner, count = config.width, config.width * config.mlp_ratio, shape.rows * shape.tokens
    again = trained and compute.remat == "block"
    yield from linear("blocks", count, width, 3 * width, trained=trained, recomputed=again)
    row_tile = ROW_TILES.get(compute.attention, Product.row_tile)
    yield from (dataclasses.replace(p, row_tile=row_tile) for p in _attention(config, shape, trained, again))
    yield from linear("blocks", count, width, width, trained=trained, recomputed=again)
    yield from linear("blocks", count, width, inner, trained=trained, recomputed=again)
    # The end of a block is needed again only where a scale multiplies it.
    yield from linear("blocks", count, inner, width, trained=trained, recomputed=again and config.layer_scale > 0)


def _attention(config: EncoderConfig, shape: Shape, trained: bool, again: bool) -> Iterator[Product]:
    tokens, head = shape.tokens, config.width // config.heads

    def product(columns_of_head: bool, when: Pass) -> Product:
        inner, columns = (tokens, head) if columns_of_head else (head, tokens)
        return Product("attention", tokens, inner, columns, shape.rows * config.heads, when)

    yield from (product(last, "forward") for last in (False, True))
    if again:
        yield from (product(last, "recomputed") for last in (False, True))
    if trained:  # weights once more; gradients of v and of the weights; of q and of k
        yield product(False, "recomputed")
        yield from (product(last, "backward") for last in (True, False, True, True))


def linear(
    part: str,
    rows: int,
    inner: int,
    columns: int,
    *,
    trained: bool = True,
    inputs: bool = True,
    recomputed: bool = False,
    exact: bool = False,
) -> list[Product]:
    """A linear map and, if it is trained, the gradients of its kernel and (unless not `inputs`) of its input."""
    one = Product(part, rows, inner, columns, exact=exact)
    products = [one]
    if recomputed:
        products.append(dataclasses.replace(one, when="recomputed"))
    if trained:
        products.append(Product(part, inner, rows, columns, when="backward", exact=exact))
        if inputs:
            products.append(Product(part, rows, columns, inner, when="backward", exact=exact))
    return products


def _whole_parts(codes: int, chunk: int) -> int:
    """Codes with the padding of the last part."""
    parts = -(-codes // chunk)
    return parts * -(-codes // parts)


def total(products: Iterable[Product], *, asked_for: bool = False) -> int:
    """Floating-point operations; `asked_for` leaves out what is recomputed."""
    return sum(p.flops for p in products if not (asked_for and p.when == "recomputed"))


def by_part(products: Iterable[Product]) -> dict[str, int]:
    parts: dict[str, int] = {}
    for product in products:
        parts[product.part] = parts.get(product.part, 0) + product.flops
    return parts


def compute_seconds(
    products: Iterable[Product], dtype: str, low: float, exact: float, tile: int, devices: int
) -> float:
    """Seconds of all products, tiles filled up, on devices that do `low` FLOP/s in bfloat16 and `exact` in float32."""
    return (
        sum(p.tiled_flops(tile) / (low if dtype == "bfloat16" and not p.exact else exact) for p in products) / devices
    )
