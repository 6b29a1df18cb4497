"""Attention in plain products, whose backward pass recomputes what it would cost memory to keep."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from labram_jax.config import ComputeConfig
from labram_jax.models.attention.tokens import TokenSegments
from labram_jax.models.layers import parameter_dtype, precision_of


def attend(
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    segments: TokenSegments,
    compute: ComputeConfig,
) -> Float[Array, "B N H h"]:
    """softmax(q k' / sqrt(h)) v among the tokens of a segment; the softmax is float32."""
    attention = _attention(parameter_dtype(compute), precision_of(compute))
    ids = segments.ids
    same_segment = ids[:, None, :, None] == ids[:, None, None, :]
    return attention(q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype), k, v, same_segment)


def _heads_first(x: Array) -> Array:
    """[B, N, H, h] to [B, H, N, h] and back: it makes all products batches of plain ones, the fastest everywhere."""
    return x.transpose(0, 2, 1, 3)


def _tokens_last(x: Float[Array, "B N H h"]) -> Float[Array, "B H h N"]:
    return x.transpose(0, 2, 3, 1)


def _tokens_second(x: Float[Array, "B H h N"]) -> Float[Array, "B N H h"]:
    return x.transpose(0, 3, 1, 2)


def _attention(stored: jnp.dtype, precision: jax.lax.Precision | None):
    """softmax(q k') v with its gradient.

    Kept for the backward pass are the operands, the result and one number a token, so that no [N, N] array outlives
    its block; the weights come back from one more product. What automatic differentiation would keep is as much as
    all else that a step keeps together and, on a CPU, slower to write and read than to recompute.

    Of two factors, [h, N] and [N, N], the small one is transposed and never the large one, and the long axis is that
    of the result which a CPU's vectors run along: scores of the forward pass have keys before queries.
    """

    def product(letters: str, a: Array, b: Array) -> Array:
        """Leaves the sum as it was accumulated: rounded to bfloat16, a score of 8 would be off by up to 0.02."""
        return jnp.einsum(letters, a, b, precision=precision, preferred_element_type=stored)

    @jax.custom_vjp
    def attention(q: Array, k: Array, v: Array, same_segment: Array) -> Float[Array, "B N H h"]:
        return forward(q, k, v, same_segment)[0]

    def forward(q: Array, k: Array, v: Array, same_segment: Array):
        q, k, v = _heads_first(q), _heads_first(k), _tokens_last(v)
        # `same_segment` is its own transpose.
        scores: Float[Array, "B H N N"] = jnp.where(same_segment, product("bhkd,bhqd->bhkq", k, q), -jnp.inf)
        largest = scores.max(axis=-2, keepdims=True)
        exponentials = jnp.exp(scores - largest)
        total = exponentials.sum(axis=-2, keepdims=True)
        # Dividing [h, N] sums and not [N, N] weights.
        out = (product("bhdk,bhkq->bhdq", v, exponentials.astype(v.dtype)) / total).astype(v.dtype)
        out = _tokens_second(out)
        return out, (q, k, v, same_segment, out, (largest + jnp.log(total)).swapaxes(2, 3))

    def backward(kept, gradient: Float[Array, "B N H h"]):
        q, k, v, same_segment, out, log_total = kept
        # The gradient of a softmax is w (g - sum(w g)), and the sum is that of out times its gradient.
        common = _heads_first((gradient.astype(stored) * out.astype(stored)).sum(axis=-1, keepdims=True))
        scores = jnp.where(same_segment, product("bhqd,bhkd->bhqk", q, k), -jnp.inf)
        weights = jnp.exp(scores - log_total)
        v_gradient = product("bhdq,bhqk->bhdk", _tokens_last(gradient), weights.astype(v.dtype)).astype(v.dtype)
        s_gradient = weights * (product("bhqd,bhdk->bhqk", _heads_first(gradient), v) - common)
        s_gradient = s_gradient.astype(q.dtype)
        q_gradient = product("bhqk,bhkd->bhqd", s_gradient, k).astype(q.dtype)
        k_gradient = product("bhdq,bhqk->bhdk", q.swapaxes(2, 3), s_gradient).astype(k.dtype)
        return _heads_first(q_gradient), _tokens_second(k_gradient), _tokens_second(v_gradient), None

    attention.defvjp(forward, backward)
    return attention
