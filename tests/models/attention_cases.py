"""Operands for attention kernels, and what plain products make of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from golden_data import quick_jit

from labram_jax.config import ComputeConfig
from labram_jax.models.attention import TokenSegments, xla

ROWS, HEADS, HEAD = 2, 2, 20


def random_case(tokens: int, segments: int, dtype: str, head: int = HEAD) -> tuple[list[jax.Array], TokenSegments]:
    """Queries, keys, values, a gradient; class tokens, patches of `segments` segments, and padding in the first row."""
    random = np.random.default_rng(tokens)
    shape = (ROWS, tokens, HEADS, head)
    operands = [jnp.asarray(scale * random.standard_normal(shape), dtype) for scale in (2, 2, 1, 1)]
    ids = np.sort(random.integers(1, segments + 1, (ROWS, tokens - segments)), axis=1)
    ids[0, -5:] = 0
    classes = np.broadcast_to(np.arange(1, segments + 1), (ROWS, segments))
    return operands, TokenSegments(jnp.asarray(np.concatenate([classes, ids], axis=1), jnp.int32), segments)


def both_passes(attend: Callable, operands: list[jax.Array], segments: TokenSegments) -> list[np.ndarray]:
    """Result and gradients of queries, keys, values, in float32; of padding nothing is asked."""
    present = (segments.ids > 0)[..., None, None]
    compute = ComputeConfig(dtype=str(operands[0].dtype))

    def result_and_gradients(q, k, v, gradient):
        out, pull_back = jax.vjp(lambda *own: attend(*own, segments, compute), q, k, v)
        return [jnp.where(present, x, 0).astype(jnp.float32) for x in (out, *pull_back(gradient))]

    q, k, v, gradient = operands
    return [np.asarray(x) for x in quick_jit(result_and_gradients)(q, k, v, jnp.where(present, gradient, 0))]


def assert_as_xla(attend: Callable, tokens: int, segments: int, dtype: str, head: int = HEAD) -> None:
    """Equal to float32 products of the same operands, to a few roundings of the type."""
    operands, segments = random_case(tokens, segments, dtype, head)
    exact = both_passes(xla.attend, [x.astype(jnp.float32) for x in operands], segments)
    tolerance = {"float32": 5e-6, "bfloat16": 2e-2}[dtype]
    for found, expected in zip(both_passes(attend, operands, segments), exact, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())
