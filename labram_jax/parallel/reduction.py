"""Sums over the devices along `data`, taken once and where they are asked for, and not where the compiler would."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec as P

from labram_jax.parallel.sharding import rules_within

PyTree = Any
AXIS = "data"
# (what all rows need, *arrays of rows) -> (gradients, other sums over rows, arrays of rows)
OfRows = Callable[..., tuple[PyTree, PyTree, PyTree]]


def summed_over_data(function: OfRows, dtype: str) -> OfRows:
    """`function` of a whole batch, from what it is of the rows of each place along `data`.

    A place sends nothing along `data` until it is done with its rows; then what adds up is summed once, gradients in
    `dtype`. The axes `fsdp` and `model` are left to the compiler. Where there is one place, `function` as it is.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.shape.get(AXIS, 1) == 1:
        return function
    platform = mesh.abstract_device.platform

    def of_own_rows(common: PyTree, *rows: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        with nn.logical_axis_rules(rules_within(AXIS)):
            gradients, sums, of_rows = function(common, *rows)
        return jax.tree.map(reduced, gradients), jax.lax.psum(sums, AXIS), of_rows

    def reduced(gradient: jax.Array) -> jax.Array:
        sent = gradient.astype(dtype) if dtype == "bfloat16" else gradient  # float64 stays what it is
        if platform == "cpu":  # sums in float32 anyway, and its compiler fails to see to it in a part of a mesh
            sent = sent.astype(gradient.dtype)
        return jax.lax.psum(sent, AXIS).astype(gradient.dtype)

    def of_all_rows(common: PyTree, *rows: PyTree) -> tuple[PyTree, PyTree, PyTree]:
        taken, given = (P(), *(P(AXIS) for _ in rows)), (P(), P(), P(AXIS))
        # That gradients are the same everywhere nothing can tell before they are summed: it is not checked.
        return jax.shard_map(of_own_rows, in_specs=taken, out_specs=given, axis_names={AXIS}, check_vma=False)(
            common, *rows
        )

    return of_all_rows
