"""What rounding costs: every model in float32 and in bfloat16 against itself in float64, on windows of a corpus.

    PYTHONPATH=tests python benchmarks/precision.py CORPUS
    PYTHONPATH=tests python benchmarks/precision.py CORPUS --size large --windows 4 --models encoder

The weights are made by the recipe of the golden models of full size (`tests/golden/README.md`): random, with norms,
biases and scales away from 0 and 1, as training leaves them. The compiler has to round wherever the program says so,
which on a CPU it may skip. Errors are relative: root mean square over that of the value in float64, and largest over
its largest. Gradients are those of all parameters together, and of the tensor that fares worst.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from golden_data import facts, recipe_weights
from jaxtyping import Array, Float, Int
from steps import masked_model, tokenizer_model
from tyro.conf import Positional

from labram_jax import config as c
from labram_jax.convert.official import from_official
from labram_jax.data import stream
from labram_jax.data.corpus import Corpus
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel, MaskedModel, PatchBatch, TokenizerModel, dense_batch
from labram_jax.models.patches import model_units
from labram_jax.montage import electrode_ids
from labram_jax.progress import Progress
from labram_jax.stages.finetuning import classification_loss
from labram_jax.stages.tokenizer import tokenizer_losses
from labram_jax.tables import text_table

ModelName = Literal["tokenizer", "encoder", "classifier"]
EXACT, TYPES = "float64", ("float32", "bfloat16")
# A gradient below this share of all is zero in exact arithmetic, as that of the key norm's bias.
VANISHING = 1e-10


@dataclass(frozen=True)
class Benchmark:
    """Measures the rounding errors of the models."""

    corpus: Positional[Path]
    """A corpus, whose training windows are taken, evenly spread."""
    models: tuple[ModelName, ...] = ("tokenizer", "encoder", "classifier")
    size: Literal["base", "large", "tiny"] = "base"
    windows: int = 8
    window_seconds: int = 4


class Inputs(NamedTuple):
    """What the models take; `codes` are those of the tokenizer in float64."""

    batch: PatchBatch
    codes: Int[Array, "B L"]
    labels: Int[Array, "B S"]


class Outcome(NamedTuple):
    """A model's values by name, its loss among them, and the gradient of the loss by tensor."""

    values: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray]


def tokenizer(model: TokenizerModel, inputs: Inputs) -> tuple[Float[Array, ""], dict[str, Array]]:
    output = model(inputs.batch)
    amplitude, phase = model.decode(model.quantizer.vectors.value[inputs.codes], inputs.batch)
    values = {
        "unit latents": output.quantized.latents,
        "codes": output.quantized.codes,
        "amplitude": output.amplitude,
        "phase": output.phase,
        "amplitude from the same codes": amplitude,
        "phase from the same codes": phase,
    }
    return sum(tokenizer_losses(output, inputs.batch).values()), values


def encoder(model: MaskedModel, inputs: Inputs) -> tuple[Float[Array, ""], dict[str, Array]]:
    hidden = model.hidden(inputs.batch)
    values = {"features": model.features(inputs.batch)[1], "logits of the codes": model.logits(hidden)}
    return model.code_head.scores(hidden, inputs.codes).cross_entropy.mean(), values


def classifier(model: ClassifierModel, inputs: Inputs) -> tuple[Float[Array, ""], dict[str, Array]]:
    logits = model(inputs.batch)
    return classification_loss(logits, inputs.labels), {"pooled features": model.pooled(inputs.batch), "logits": logits}


METHODS: Mapping[str, Callable] = {"tokenizer": tokenizer, "encoder": encoder, "classifier": classifier}
KINDS: Mapping[str, type[nn.Module]] = {
    "tokenizer": TokenizerModel,
    "encoder": MaskedModel,
    "classifier": ClassifierModel,
}


def main(benchmark: Benchmark) -> None:
    configs = {name: config_of(name, benchmark.size) for name in KINDS}
    batch, labels = windows_of(benchmark)
    progress = Progress("precision", (1 + len(TYPES)) * len(benchmark.models))
    with jax.enable_x64(True):
        apply = TokenizerModel(configs["tokenizer"], c.ComputeConfig(dtype=EXACT)).apply
        encode = jax.jit(lambda variables, batch: apply(variables, batch, method=TokenizerModel.encode))
        codes = np.asarray(encode(*in_type(EXACT, variables_of(configs["tokenizer"]), batch)))
    inputs, rows = Inputs(batch, codes, labels), []
    for name in benchmark.models:
        found = {}
        for dtype in (EXACT, *TYPES):
            found[dtype] = evaluate(name, configs[name], inputs, dtype)
            progress.update(text=f"{name}, {dtype}")
        rows += errors(name, found)
    progress.close()
    headers = ["", "", *(f"{dtype} {kind}" for dtype in TYPES for kind in ("rms", "largest"))]
    print(text_table(headers, rows))


def config_of(name: str, size: str) -> c.TokenizerConfig | c.MaskedModelConfig | c.ClassifierConfig:
    if name == "tokenizer":
        return tokenizer_model(size)
    masked = masked_model(size)
    return masked if name == "encoder" else c.ClassifierConfig(c.replace(masked.encoder, class_position="class_row"))


def variables_of(config) -> dict:
    return from_official(recipe_weights(config, facts("fullsize_recipe")["salt"]), config)


def in_type(dtype: str, *trees):
    """All floating-point numbers in the type in which a model of that compute type keeps its parameters."""
    stored = EXACT if dtype == EXACT else "float32"
    widen = lambda x: x.astype(stored) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
    return jax.tree.map(widen, trees)


def windows_of(benchmark: Benchmark) -> tuple[PatchBatch, Int[np.ndarray, "B S"]]:
    """Windows without bad electrodes, half of their patches hidden; and a label for each, 0 and 1 in turn."""
    (windows, *_) = Corpus.open(benchmark.corpus).windows("train", benchmark.window_seconds).montages
    whole = [window for window in windows if not window.bad.any()]
    if len(whole) < benchmark.windows:
        raise InputError(f"{benchmark.corpus} has {len(whole)} windows without bad electrodes; give --windows less.")
    chosen = [whole[number * len(whole) // benchmark.windows] for number in range(benchmark.windows)]
    patches = np.stack([stream.patches(window.eeg) for window in chosen])
    mask = np.random.default_rng(0).random(patches.shape[:2]) < 0.5
    labels = np.arange(len(chosen), dtype=np.int32)[:, None] % 2
    batch = dense_batch(np.asarray(model_units(patches)), electrode_ids(windows.electrodes), mask=mask)
    return jax.tree.map(np.asarray, batch), labels


def evaluate(name: str, config, inputs: Inputs, dtype: str) -> Outcome:
    """Values, loss and gradients of a model whose products are of that type."""
    with jax.enable_x64(dtype == EXACT):
        module = KINDS[name](config, c.ComputeConfig(dtype=dtype))
        variables, inputs = in_type(dtype, variables_of(config), inputs)
        others = {collection: values for collection, values in variables.items() if collection != "params"}

        def loss(params, others, inputs):
            return module.apply({"params": params, **others}, inputs, method=METHODS[name])

        strict = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options={"xla_allow_excess_precision": False})
        (value, values), gradients = jax.device_get(strict(variables["params"], others, inputs))
    tensors = jax.tree_util.tree_leaves_with_path(gradients)
    by_name = {jax.tree_util.keystr(path, simple=True, separator="."): tensor for path, tensor in tensors}
    return Outcome({**values, "loss": value}, by_name)


def errors(name: str, found: Mapping[str, Outcome]) -> list[list[object]]:
    """One row a value: root mean square and largest error in each type."""
    exact = found[EXACT]
    rows = []
    for value in exact.values:
        row = [name, value]
        for dtype in TYPES:
            mine, right = found[dtype].values[value], exact.values[value]
            row += [f"{np.mean(mine == right):.2%} equal", ""] if value == "codes" else relative(mine, right)
        rows.append(row)
    whole, worst = [name, "gradient"], [name, "gradient, worst tensor"]
    for dtype in TYPES:
        rms = gradient_errors(found[dtype].gradients, exact.gradients)
        everything = [np.concatenate([g.reshape(-1) for g in own.gradients.values()]) for own in (found[dtype], exact)]
        whole += relative(*everything)
        tensor = max(rms, key=rms.get)
        worst += [f"{rms[tensor]:.1e}", tensor]
    return [*rows, whole, worst]


def gradient_errors(mine: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Relative error of every tensor's gradient, but of those that vanish."""
    norms = {tensor: np.linalg.norm(gradient) for tensor, gradient in exact.items()}
    whole = np.linalg.norm(list(norms.values()))
    return {t: np.linalg.norm(mine[t] - exact[t]) / norm for t, norm in norms.items() if norm > VANISHING * whole}


def relative(mine: np.ndarray, exact: np.ndarray) -> list[str]:
    difference = np.abs(np.float64(mine) - exact)
    rms = np.sqrt(np.mean(difference**2) / np.mean(np.square(exact)))
    return [f"{rms:.1e}", f"{difference.max() / np.abs(exact).max():.1e}"]


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
