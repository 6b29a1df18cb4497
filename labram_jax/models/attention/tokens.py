"""How tokens reach a kernel: the segment of each, whole blocks of them, and every device its own rows and heads."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

FILLER = -1  # segment of the tokens that fill up a block: they attend to each other alone


@struct.dataclass
class TokenSegments:
    """The segment of every token of a row, 1 to `count`; 0 is padding, which is last where `count` is 1."""

    ids: Int[Array, "B N"]
    count: int = struct.field(pytree_node=False)


def in_blocks(
    attention: Callable[..., Float[Array, "B M H h"]],
    block: int,
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    ids: Int[Array, "B N"],
) -> Float[Array, "B N H h"]:
    """`attention(q, k, v, ids)` of the tokens and of as many more as make whole blocks."""
    tokens = ids.shape[1]
    missing = -tokens % block
    q, k, v = (jnp.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0))) for x in (q, k, v))
    return attention(q, k, v, jnp.pad(ids, ((0, 0), (0, missing)), constant_values=FILLER))[:, :tokens]


def on_each_device(
    attention: Callable[..., Float[Array, "B N H h"]],
    q: Float[Array, "B N H h"],
    k: Float[Array, "B N H h"],
    v: Float[Array, "B N H h"],
    ids: Int[Array, "B N"],
) -> Float[Array, "B N H h"]:
    """`attention(q, k, v, ids)`, on a mesh for the rows and heads that a device has: no compiler can split a kernel."""
    axes = jax.sharding.get_abstract_mesh().auto_axes  # a caller may have split the others already
    if not axes:
        return attention(q, k, v, ids)
    heads = nn.logical_to_mesh_axes(("rows", "tokens", "heads", "head_dim"))
    rows = nn.logical_to_mesh_axes(("rows", "tokens"))
    own = jax.shard_map(
        attention,
        in_specs=(heads, heads, heads, rows),
        out_specs=heads,
        axis_names=set(axes),
        check_vma=False,  # of a kernel's results nothing says along which axes they differ
    )
    return own(q, k, v, ids)
