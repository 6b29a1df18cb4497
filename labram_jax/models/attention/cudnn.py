"""cuDNN's fused attention for NVIDIA GPUs, told how many tokens of a row count: no mask, no bias, any length."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from labram_jax.config import ComputeConfig
from labram_jax.models.attention.tokens import TokenSegments, in_blocks

BLOCK = 2  # JAX refuses gradients at odd lengths, also without the bias on account of which it does so
HEAD_BLOCK = 8  # LaBraM's heads have 20, 25 or 50 features, and zeros change no product


def attend(
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    segments: TokenSegments,
    compute: ComputeConfig,
) -> Float[Array, "B N H h"]:
    """softmax(q k' / sqrt(h)) v among the tokens of a row of one segment; 0 in its padding."""
    head = q.shape[-1]
    widths = ((0, 0), (0, 0), (0, 0), (0, -head % HEAD_BLOCK))
    q, k, v = (jnp.pad(x, widths) for x in (q, k, v))
    return in_blocks(functools.partial(_attention, head**-0.5), BLOCK, q, k, v, segments.ids)[..., :head]


def _attention(
    scale: float,
    q: Float[Array, "B M H h"],
    k: Float[Array, "B M H h"],
    v: Float[Array, "B M H h"],
    ids: Int[Array, "B M"],
) -> Float[Array, "B M H h"]:
    present = ids > 0
    lengths = present.sum(axis=1, dtype=jnp.int32)
    # Whatever cuDNN leaves where nothing counts, and in the gradients there, stays out of every sum.
    counts = present[..., None, None]
    q, k, v = (jnp.where(counts, x, 0) for x in (q, k, v))
    out = jax.nn.dot_product_attention(
        q, k, v, scale=scale, query_seq_lengths=lengths, key_value_seq_lengths=lengths, implementation="cudnn"
    )
    return jnp.where(counts, out, 0)
