"""JAX's splash attention for TPUs: scores and weights never leave the fast memory of the chip."""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jaxtyping import Array, Float, Int

from labram_jax.config import ComputeConfig
from labram_jax.models.attention.tokens import TokenSegments, in_blocks, on_each_device

LANES = 128  # the kernel takes whole blocks of as many tokens
LARGEST_BLOCK = 512  # scores of a block are this squared: 1 MiB in float32


def attend(
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    segments: TokenSegments,
    compute: ComputeConfig,
    interpret: bool = False,
) -> Float[Array, "B N H h"]:
    """softmax(q k' / sqrt(h)) v among the tokens of a segment; `interpret` runs the kernel without a TPU."""
    attention = _attention("float32" if compute.dtype == "float32" else None, interpret)
    q = q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)

    def padded(*operands: Array) -> Float[Array, "B N H h"]:
        return in_blocks(attention, LANES, *operands)

    return on_each_device(padded, q, k, v, segments.ids)


def _attention(precision: str | None, interpret: bool):
    """The kernel, whose backward pass has the precision of the forward pass: JAX would trace it without."""

    def kernel(q: Array, k: Array, v: Array, ids: Int[Array, "B N"]) -> Float[Array, "B N H h"]:
        _, tokens, heads, _ = q.shape
        block = next(size for size in range(LARGEST_BLOCK, 0, -LANES) if tokens % size == 0)
        # Laid out by features, heads of 20 to 50 of them would be padded to 128 in memory; by tokens they are not.
        by_tokens = dict.fromkeys(("q_layout", "k_layout", "v_layout"), splash.QKVLayout.SEQ_MINOR)
        blocks = dict.fromkeys(("block_q", "block_kv", "block_q_dkv", "block_kv_dkv"), block)
        sizes = splash.BlockSizes(**blocks, **by_tokens, use_fused_bwd_kernel=True)
        everything = splash.MultiHeadMask([splash.FullMask((tokens, tokens))] * heads)
        one_row = splash.make_splash_mha(
            everything, block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
        )
        q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
        return jax.vmap(one_row)(q, k, v, splash.SegmentIds(ids, ids)).transpose(0, 2, 1, 3)

    @jax.custom_vjp
    def attention(q: Array, k: Array, v: Array, ids: Int[Array, "B N"]) -> Float[Array, "B N H h"]:
        with jax.default_matmul_precision(precision):
            return kernel(q, k, v, ids)

    def forward(q: Array, k: Array, v: Array, ids: Int[Array, "B N"]):
        with jax.default_matmul_precision(precision):
            return jax.vjp(lambda *operands: kernel(*operands, ids), q, k, v)

    def backward(pull_back, gradient: Float[Array, "B N H h"]):
        with jax.default_matmul_precision(precision):
            return *pull_back(gradient), None

    attention.defvjp(forward, backward)
    return attention
