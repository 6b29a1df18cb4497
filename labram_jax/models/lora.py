"""Low-rank updates of an encoder's matrices (LoRA, arXiv 2106.09685): trained in their stead, and merged to use them.

An update of a kernel W [in, out] is scale / rank * A B, with A [in, rank] drawn and B [rank, out] zeros at first. It is
added to W before the model is applied, so that no module knows of it.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float, Key

PyTree = Any
# Where the updates are among the parameters.
NAME = "lora"
# The kernels of the scanned blocks, [depth, *in, *out], that have an update, and how many axes their inputs have.
TARGETS = (("attention", "qkv", 1), ("attention", "out", 2), ("mlp", "up", 1), ("mlp", "down", 1))


def fresh_updates(key: Key[Array, ""], params: Mapping[str, PyTree], rank: int) -> dict[str, PyTree]:
    """Updates of the encoder of `params`, which change nothing yet."""
    found: dict[str, PyTree] = {}
    for number, (branch, name, inputs) in enumerate(TARGETS):
        kernel = params["encoder"]["blocks"][branch][name]["kernel"]
        depth, fan_in, outputs = kernel.shape[0], kernel.shape[1 : 1 + inputs], kernel.shape[1 + inputs :]
        draw = jax.random.normal(jax.random.fold_in(key, number), (depth, *fan_in, rank), kernel.dtype)
        zeros = jnp.zeros((depth, rank, *outputs), kernel.dtype)
        found.setdefault(branch, {})[name] = {"a": draw * math.prod(fan_in) ** -0.5, "b": zeros}
    return found


def merged(params: Mapping[str, PyTree], scale: float) -> dict[str, PyTree]:
    """The parameters of the plain model: kernels with their updates, which are gone."""
    blocks = params["encoder"]["blocks"]
    branches = {branch: dict(blocks[branch]) for branch, *_ in TARGETS}
    for branch, name, _ in TARGETS:
        own = blocks[branch][name]
        branches[branch][name] = {**own, "kernel": own["kernel"] + _product(**params[NAME][branch][name], scale=scale)}
    encoder = {**params["encoder"], "blocks": {**blocks, **branches}}
    return {**{name: part for name, part in params.items() if name != NAME}, "encoder": encoder}


def _product(a: Float[Array, "depth *I r"], b: Float[Array, "depth r *O"], scale: float) -> Float[Array, "depth ..."]:
    depth, rank = b.shape[:2]
    flat = jnp.einsum(
        "dir,dro->dio", a.reshape(depth, -1, rank), b.reshape(depth, rank, -1), precision=Precision.HIGHEST
    )
    return scale / rank * flat.reshape(depth, *a.shape[1:-1], *b.shape[2:])
