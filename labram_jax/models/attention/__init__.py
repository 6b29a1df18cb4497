"""Attention among the tokens of a segment, by one of several kernels."""

from jaxtyping import Array, Float

from labram_jax.config import ComputeConfig
from labram_jax.models.attention import cudnn, splash, triton, xla
from labram_jax.models.attention.choose import Choice, kernel_for, kernel_of, target
from labram_jax.models.attention.tokens import TokenSegments

__all__ = ["KERNELS", "Choice", "TokenSegments", "attend", "kernel_for", "kernel_of"]

KERNELS = {"xla": xla.attend, "splash": splash.attend, "cudnn": cudnn.attend, "triton": triton.attend}


def attend(
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    segments: TokenSegments,
    compute: ComputeConfig,
) -> Float[Array, "B N H h"]:
    """softmax(q k' / sqrt(h)) v among the tokens of a segment, by the kernel for what is compiled for."""
    choice = kernel_for(compute, target(), q.shape[1], segments.count, q.shape[-1])
    return KERNELS[choice.kernel](q, k, v, segments, compute)
