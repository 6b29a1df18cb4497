"""The backbone of every model: patch embeddings, addresses, class tokens, transformer blocks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Int, Key

from labram_jax.config import ELECTRODE_ROWS, TIME_ROWS, ComputeConfig, EncoderConfig
from labram_jax.models.attention import TokenSegments
from labram_jax.models.block import Block
from labram_jax.models.layers import Linear, named, normal_initializer, parameter_dtype, uniform_initializer
from labram_jax.models.patches import PatchBatch
from labram_jax.models.readout import log_amplitude
from labram_jax.models.temporal_convolution import TemporalConvolution


def drop_path_factors(uniforms: Float[Array, "depth 2 B S"], rate: float) -> Float[Array, "depth 2 B S"]:
    """Factors on both branches of every block and segment: floor(1 - p + u) / (1 - p), p rising linearly to `rate`."""
    depth = uniforms.shape[0]
    rates = jnp.linspace(0, rate, depth, dtype=uniforms.dtype)[:, None, None, None]
    return jnp.floor(1 - rates + uniforms) / (1 - rates)


def branch_factors(
    config: EncoderConfig, keys: Key[Array, " B"], segments: int, views: int = 1
) -> Float[Array, "depth 2 BV S"] | None:
    """Drop-path factors of rows in `views` views each, every row's drawn from its own key; None where nothing drops."""
    if config.drop_path == 0:
        return None
    shape = (config.depth, 2, views, segments)
    uniforms = jax.vmap(lambda key: jax.random.uniform(key, shape), out_axes=2)(keys)
    return drop_path_factors(uniforms.reshape(config.depth, 2, -1, segments), config.drop_path)


def rows_of(table: Float[Array, "R D"], ids: Int[Array, "..."]) -> Float[Array, "... D"]:
    """Looks rows up by a product with their indicator: exact, and its gradient is a product and not a scatter."""
    indicator = jax.nn.one_hot(ids, table.shape[0], dtype=table.dtype)
    return jnp.einsum("...r,rd->...d", indicator, table, precision=Precision.HIGHEST)


def token_segments(batch: PatchBatch) -> TokenSegments:
    """Of a row's class tokens first, then of its patch slots."""
    rows = batch.segment_ids.shape[0]
    classes = jnp.arange(1, batch.segments + 1, dtype=batch.segment_ids.dtype)
    classes = jnp.broadcast_to(classes, (rows, batch.segments))
    return TokenSegments(jnp.concatenate([classes, batch.segment_ids], axis=1), batch.segments)


class Encoder(nn.Module):
    """A transformer over the patch stream; with `code_dimension`, a decoder that a linear map feeds.

    Tokens leave it without a final norm: what follows the blocks belongs to the model around it.
    """

    config: EncoderConfig
    compute: ComputeConfig
    code_dimension: int | None = None

    def setup(self):
        config, compute = self.config, self.compute
        if self.code_dimension is None:
            self.temporal_convolution = TemporalConvolution(config, compute)
            if config.amplitude:
                zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("width",))
                stored = parameter_dtype(compute)
                self.amplitude_embedding = self.param("amplitude_embedding", zeros, (config.width,), stored)
        else:
            initial = uniform_initializer(self.code_dimension)
            shape, names = (self.code_dimension, config.width), ("code_dim", "width")
            self.code_projection = Linear(shape, names, compute, initial, initial)
        initial, stored = normal_initializer(config.initialisation), parameter_dtype(compute)
        table = nn.with_logical_partitioning(initial, (None, "width"))
        vector = nn.with_logical_partitioning(initial, ("width",))
        self.class_token = self.param("class_token", vector, (config.width,), stored)
        self.electrode_embedding = self.param("electrode_embedding", table, (ELECTRODE_ROWS, config.width), stored)
        self.time_embedding = self.param("time_embedding", table, (TIME_ROWS, config.width), stored)
        block = Block
        if compute.remat != "none":
            policy = jax.checkpoint_policies.checkpoint_dots if compute.remat == "products" else None
            block = nn.remat(Block, prevent_cse=False, policy=policy)
        self.blocks = nn.scan(
            block,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True},
            in_axes=(0, 0, nn.broadcast),
            length=config.depth,
            unroll=compute.unroll,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )(config, compute)

    def embed(self, batch: PatchBatch) -> Float[Array, "B L D"]:
        """Embeddings of the patches, before any address is added."""
        return self._told(self.temporal_convolution(batch.patches, batch.membership), batch)

    def embed_with_filters(self, batch: PatchBatch) -> tuple[Float[Array, "B L D"], Float[Array, "B L F"]]:
        """Embeddings, and log amplitudes of the temporal convolution's filters, which its norms take out of them."""
        embeddings, amplitudes = self.temporal_convolution.with_amplitudes(batch.patches, batch.membership)
        return self._told(embeddings, batch), amplitudes

    def _told(self, embeddings: Float[Array, "B L D"], batch: PatchBatch) -> Float[Array, "B L D"]:
        """The embeddings with the amplitude of their patches, if they have it."""
        if self.config.amplitude:
            embeddings = embeddings + log_amplitude(batch.patches)[..., None] * self.amplitude_embedding
        return named(embeddings, "rows", "tokens", "features")

    def project_codes(self, codes: Float[Array, "B L d"]) -> Float[Array, "B L D"]:
        """Embeddings of quantized latents (the decoder's patch embedder, a 1x1 convolution in the reference)."""
        return self.code_projection(codes)

    def address(self, embeddings: Float[Array, "B L D"], batch: PatchBatch) -> Float[Array, "B S+L D"]:
        """Class tokens, then patches; electrode embedding on all of them, time embedding on the patches."""
        if self.config.class_position == "first_electrode":
            first_slot = jnp.argmax(batch.membership, axis=1)
            class_ids = jnp.take_along_axis(batch.electrode_ids, first_slot, axis=1)
        else:
            class_ids = jnp.zeros((embeddings.shape[0], batch.segments), jnp.int32)
        classes = self.class_token + rows_of(self.electrode_embedding, class_ids)
        patches = embeddings + rows_of(self.electrode_embedding, batch.electrode_ids)
        patches = patches + rows_of(self.time_embedding, batch.time_ids)
        return jnp.concatenate([classes, patches], axis=1)

    def transform(
        self,
        embeddings: Float[Array, "B L D"],
        batch: PatchBatch,
        branch_factors: Float[Array, "depth 2 B S"] | None = None,
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        """Class tokens and patch tokens after the last block. Padding attends to padding alone."""
        segments = token_segments(batch)
        if branch_factors is not None:
            index = jnp.maximum(segments.ids - 1, 0)[None, None]
            branch_factors = jnp.take_along_axis(branch_factors, index, axis=-1)
        numbers = jnp.arange(1, self.config.depth + 1, dtype=embeddings.dtype)
        tokens, _ = self.blocks(self.address(embeddings, batch), numbers, branch_factors, segments)
        return tokens[:, : batch.segments], tokens[:, batch.segments :]

    def __call__(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        return self.transform(self.embed(batch), batch, branch_factors)
