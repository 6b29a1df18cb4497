"""The projection onto the codes, and its cross-entropy without all logits at one time."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from labram_jax.config import ComputeConfig, MaskedModelConfig
from labram_jax.models.layers import named, normal_initializer, parameter_dtype, product, uniform_initializer
from labram_jax.models.quantizer import interleaved_parts


@struct.dataclass
class CodeScores:
    """Of every patch: cross-entropy of its code and whether the likeliest code is the right one."""

    cross_entropy: Float[Array, "B L"]
    correct: Bool[Array, "B L"]


class CodeHead(nn.Module):
    """A linear map from features to one logit a code; products in the compute type, logits in float32."""

    config: MaskedModelConfig
    compute: ComputeConfig

    def setup(self):
        width, codes = self.config.encoder.width, self.config.codes
        stored = parameter_dtype(self.compute)
        kernel_init = normal_initializer(self.config.encoder.initialisation)
        bias_init = uniform_initializer(width)
        self.kernel = self.param(
            "kernel", nn.with_logical_partitioning(kernel_init, ("width", "codes")), (width, codes), stored
        )
        self.bias = self.param("bias", nn.with_logical_partitioning(bias_init, ("codes",)), (codes,), stored)

    def __call__(self, features: Float[Array, "B L D"]) -> Float[Array, "B L K"]:
        return self._logits(features, self.kernel, self.bias)

    def scores(self, features: Float[Array, "B L D"], codes: Int[Array, "B L"]) -> CodeScores:
        """Scores of the right codes; logits exist for `code_chunk` codes at one time, also in the backward pass."""
        chunk = self.compute.code_chunk
        kernels = interleaved_parts(self.kernel, chunk, axis=1)
        biases = interleaved_parts(self.bias, chunk, fill=-jnp.inf)
        parts = len(kernels)

        @jax.checkpoint
        def score(features, number, kernel, bias):
            logits = self._logits(features, kernel, bias)
            place = jnp.where(codes % parts == number, codes // parts, -1)
            right = place[..., None] == jnp.arange(logits.shape[-1])
            largest = jax.lax.stop_gradient(logits).max(axis=-1)
            return jax.nn.logsumexp(logits, axis=-1), jnp.where(right, logits, 0).sum(axis=-1), largest

        _, (sums, rights, largest) = jax.lax.scan(
            lambda _, part: (None, score(features, *part)), None, (jnp.arange(parts), kernels, biases)
        )
        right = rights.sum(axis=0)
        return CodeScores(jax.nn.logsumexp(sums, axis=0) - right, right >= largest.max(axis=0))

    def _logits(
        self, features: Float[Array, "B L D"], kernel: Float[Array, "D k"], bias: Float[Array, " k"]
    ) -> Float[Array, "B L k"]:
        return named(product(features, kernel, self.compute) + bias, "rows", "tokens", "codes")
