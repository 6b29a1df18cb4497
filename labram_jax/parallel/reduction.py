"""Sums over the devices of the axis `data`: taken where they are asked for, and not where the compiler would."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P

from labram_jax.parallel.sharding import rules_within

PyTree = Any
AXIS = "data"
# (arrays on every device, *arrays of rows) -> (gradients, other sums over rows, arrays of rows)
OfRows = Callable[..., tuple[PyTree, PyTree, PyTree]]


def summed_over_data(function: OfRows, dtype: str) -> OfRows:
    """`function` of a whole batch from that of the rows of each place along `data`.

    Each place works on its rows alone, and nothing is sent until it is done; then what adds up is summed once, the
    gradients in `dtype`. The axes `fsdp` and `model` are left to the compiler. Without a mesh, `function` as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.shape.get(AXIS, 1) == 1:
        return function

    def of_own_rows(whole: PyTree, *rows: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        with nn.logical_axis_rules(rules_within(AXIS)):
            gradients, sums, rows = function(whole, *rows)
        return jax.tree.map(meet, gradients), jax.lax.psum(sums, AXIS), rows

    def meet(gradient: jax.Array) -> jax.Array:
        narrow = gradient.astype(dtype) if dtype == "bfloat16" else gradient
        return jax.lax.psum(narrow, AXIS).astype(gradient.dtype)

    def of_all_rows(whole: PyTree, *rows: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        return jax.shard_map(
            of_own_rows,
            in_specs=(P(), *(P(AXIS) for _ in rows)),
            out_specs=(P(), P(), P(AXIS)),
            axis_names={AXIS},
            check_vma=False,
        )(whole, *rows)

    return of_all_rows
