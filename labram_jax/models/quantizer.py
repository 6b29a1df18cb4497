"""The codebook's mathematics as plain functions on arrays, and a thin module that keeps the codebook.

Codes and latents live on the unit sphere. Nothing here builds a one-hot matrix over the codes. `weights` are 1
for latents that count and 0 for padding; all sums run over the global batch, whatever the mesh.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from labram_jax.config import ComputeConfig, QuantizerConfig
from labram_jax.models.layers import parameter_dtype


def unit(x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """x / max(|x|, 1e-12) over the last axis, with a finite gradient at 0."""
    square = jnp.sum(x**2, axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def interleaved_parts(
    codes: Float[Array, "..."], size: int, axis: int = 0, fill: float = 0
) -> Float[Array, "parts ..."]:
    """An array of codes along `axis` in parts of at most `size` codes: code c is number c // parts of part c % parts.

    With codes spread over devices every device so holds an equal share of every part. Padding is `fill`.
    """
    count = codes.shape[axis]
    parts = -(-count // size)
    each = -(-count // parts)
    padding = [(0, 0)] * codes.ndim
    padding[axis] = (0, each * parts - count)
    padded = jnp.pad(codes, padding, constant_values=fill)
    return jnp.moveaxis(padded.reshape(*codes.shape[:axis], each, parts, *codes.shape[axis + 1 :]), axis + 1, 0)


def nearest_code(latents: Float[Array, "N d"], codebook: Float[Array, "K d"], chunk: int = 256) -> Int[Array, " N"]:
    """First index of the code at the smallest |z|^2 + |w|^2 - 2 z.w (equation 2); `chunk` codes at one time.

    Every row of the parts keeps its own nearest code, so that an argmin, slow on a CPU, runs over one part alone;
    as codes rise along the rows and from part to part, the first of equally near codes still wins.
    """
    parts = interleaved_parts(codebook, chunk)
    squares = interleaved_parts(jnp.sum(codebook**2, axis=-1), chunk, fill=jnp.inf)
    square = jnp.sum(latents**2, axis=-1, keepdims=True)

    def step(best, numbered_part):
        number, part, part_squares = numbered_part
        product = jnp.einsum("nd,kd->nk", latents, part, precision=Precision.HIGHEST)
        distance = square + part_squares - 2 * product
        closer = distance < best[0]
        return (jnp.where(closer, distance, best[0]), jnp.where(closer, number, best[1])), None

    shape = (latents.shape[0], parts.shape[1])
    start = (jnp.full(shape, jnp.inf, latents.dtype), jnp.zeros(shape, jnp.int32))
    (distance, number), _ = jax.lax.scan(step, start, (jnp.arange(len(parts), dtype=jnp.int32), parts, squares))
    row = distance.argmin(axis=-1).astype(jnp.int32)
    return row * len(parts) + jnp.take_along_axis(number, row[:, None], axis=1)[:, 0]


def straight_through(latents: Float[Array, "... d"], quantized: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """The value of `quantized` with the gradient of `latents` (section 2.2, straight-through estimator)."""
    return latents + jax.lax.stop_gradient(quantized - latents)


def commitment_loss(
    latents: Float[Array, "N d"],
    quantized: Float[Array, "N d"],
    weights: Float[Array, " N"],
    total: Float[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Mean over all elements of (sg[quantized] - latent)^2 (equation 8, last term).

    `total`: sum of the weights of the whole batch, if this is a part of it: the parts' values then add up to the mean.
    """
    total = weights.sum() if total is None else total
    square = ((jax.lax.stop_gradient(quantized) - latents) ** 2).sum(axis=-1)
    return (square * weights).sum() / (jnp.maximum(total, 1) * latents.shape[-1])


def code_statistics(
    latents: Float[Array, "N d"], codes: Int[Array, " N"], weights: Float[Array, " N"], count: int
) -> tuple[Float[Array, " K"], Float[Array, "K d"]]:
    """How many latents each code got, and their sums."""
    sums = jax.ops.segment_sum(latents * weights[:, None], codes, num_segments=count)
    return jax.ops.segment_sum(weights, codes, num_segments=count), sums


def moving_average(
    codebook: Float[Array, "K d"],
    usage: Float[Array, " K"],
    counts: Float[Array, " K"],
    sums: Float[Array, "K d"],
    decay: float,
) -> tuple[Float[Array, "K d"], Float[Array, " K"]]:
    """Codebook and running counts after one step: hit codes move towards the mean direction of their latents."""
    hit = (counts > 0)[:, None]
    centre = jnp.where(hit, unit(sums / jnp.maximum(counts, 1)[:, None]), codebook)
    return unit(decay * codebook + (1 - decay) * centre), decay * usage + (1 - decay) * counts


def kmeans(
    latents: Float[Array, "N d"],
    weights: Float[Array, " N"],
    means: Float[Array, "K d"],
    iterations: int,
    chunk: int = 256,
) -> tuple[Float[Array, "K d"], Float[Array, " K"]]:
    """Spherical k-means from given means: new means, counts of the last iteration; empty clusters keep their mean."""

    def step(_, carry):
        means, _ = carry
        counts, sums = code_statistics(latents, nearest_code(latents, means, chunk), weights, means.shape[0])
        centre = unit(sums / jnp.maximum(counts, 1)[:, None])
        return jnp.where((counts > 0)[:, None], centre, means), counts

    return jax.lax.fori_loop(0, iterations, step, (means, jnp.zeros(means.shape[0], means.dtype)))


def sample_latents(
    key: Array, latents: Float[Array, "N d"], weights: Float[Array, " N"], count: int
) -> Float[Array, "K d"]:
    """Random latents that count, without replacement as far as there are enough, then over again."""
    priority = jnp.where(weights > 0, jax.random.uniform(key, weights.shape), -1)
    order = jnp.argsort(-priority)
    available = jnp.maximum((weights > 0).sum(), 1)
    return latents[order[jnp.arange(count) % available]]


def restart_unused(
    key: Array,
    codebook: Float[Array, "K d"],
    usage: Float[Array, " K"],
    latents: Float[Array, "N d"],
    weights: Float[Array, " N"],
    below: float,
) -> tuple[Float[Array, "K d"], Float[Array, " K"]]:
    """Moves codes whose running count is below a threshold onto random latents.

    Their count becomes twice the threshold, which gives them ln 2 / (1 - decay) steps to be hit.
    """
    unused = usage < below
    fresh = sample_latents(key, latents, weights, codebook.shape[0])
    return jnp.where(unused[:, None], fresh, codebook), jnp.where(unused, 2 * below, usage)


def perplexity(counts: Float[Array, " K"]) -> Float[Array, ""]:
    """exp of the entropy of the codes' shares: how many codes an even use would take; 0 where nothing was counted."""
    share = counts / jnp.maximum(counts.sum(), 1e-12)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, 1e-30)), 0))
    return jnp.where(counts.sum() > 0, jnp.exp(entropy), 0)


@struct.dataclass
class Quantized:
    """What the quantizer makes of latents: unit latents, the code of each, its vector; `weights` are 0 in padding."""

    latents: Float[Array, "N d"]
    codes: Int[Array, " N"]
    vectors: Float[Array, "N d"]
    weights: Float[Array, " N"]


class Quantizer(nn.Module):
    """Keeps the collection `codebook`: `vectors` [K, d] and `usage` [K], a running count per step.

    A call assigns codes with the codebook as it stands; `move`, with the collection mutable, moves the codebook by
    its moving average. They are two, since the statistics of a step are those of its whole batch, whose parts may
    be quantized one after another.
    """

    config: QuantizerConfig
    compute: ComputeConfig

    def setup(self):
        config, stored = self.config, parameter_dtype(self.compute)
        shape = (config.codes, config.dimension)
        self.vectors = self.variable("codebook", "vectors", self._random_codes, shape, stored)
        self.usage = self.variable("codebook", "usage", jnp.zeros, (config.codes,), stored)

    def __call__(self, latents: Float[Array, "N d"], weights: Float[Array, " N"]) -> Quantized:
        z = unit(latents.astype(self.vectors.value.dtype))
        codes = nearest_code(jax.lax.stop_gradient(z), self.vectors.value, self.compute.code_chunk)
        return Quantized(z, codes, self.vectors.value[codes], weights)

    def move(self, counts: Float[Array, " K"], sums: Float[Array, "K d"]) -> None:
        """One step of the moving average, with the statistics of all latents of the step (see `code_statistics`)."""
        self.vectors.value, self.usage.value = moving_average(
            self.vectors.value, self.usage.value, counts, sums, self.config.decay
        )

    def _random_codes(self, shape, dtype):
        return unit(jax.random.normal(self.make_rng("params"), shape, dtype))
