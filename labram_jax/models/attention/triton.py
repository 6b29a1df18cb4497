"""JAX's Triton attention for GPUs: any number of segments in a row, and no scores in main memory."""

import functools

from jax.experimental.pallas.ops.gpu.attention import BlockSizes, mha
from jaxtyping import Array, Float

from labram_jax.config import ComputeConfig
from labram_jax.models.attention.tokens import TokenSegments, in_blocks, on_each_device

BLOCK = 64  # tokens of a block: 257 become 320
BACKWARD_BLOCK = 32


def attend(
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    segments: TokenSegments,
    compute: ComputeConfig,
    interpret: bool = False,
) -> Float[Array, "B N H h"]:
    """softmax(q k' / sqrt(h)) v among the tokens of a segment; `interpret` runs the kernel without a GPU."""
    sizes = BlockSizes(BLOCK, BLOCK, *(BACKWARD_BLOCK,) * 4)
    attention = functools.partial(mha, sm_scale=q.shape[-1] ** -0.5, block_sizes=sizes, interpret=interpret)
    return on_each_device(functools.partial(in_blocks, attention, BLOCK), q, k, v, segments.ids)
