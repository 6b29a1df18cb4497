"""A training that began elsewhere goes on here: its moments and counts take the places of fresh ones."""

import jax
import numpy as np
import optax

from labram_jax.parallel.sharding import put_array, replaced
from labram_jax.parallel.state import TrainState
from labram_jax.stages.stage import PyTree, Resumption


def carry_over(state: TrainState, resumption: Resumption, position: int) -> TrainState:
    """The state at step `position`, with AdamW's moments and its count of updates from `resumption`.

    The learning rate goes on where `position` lies in the schedule of this run. Raises InputError where moments do
    not fit the parameters.
    """

    def carried(node: PyTree) -> PyTree:
        if isinstance(node, optax.ScaleByAdamState):
            return node._replace(
                count=_count(node.count, resumption.updates),
                mu=replaced(node.mu, resumption.first),
                nu=replaced(node.nu, resumption.second),
            )
        return node

    opt_state = jax.tree.map(carried, state.opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))
    return at_step(state.replace(opt_state=opt_state), position)


def at_step(state: TrainState, step: int) -> TrainState:
    """The state at another place in the data and in the schedule of the learning rate."""

    def moved(node: PyTree) -> PyTree:
        scheduled = isinstance(node, optax.ScaleByScheduleState)
        return node._replace(count=_count(node.count, step)) if scheduled else node

    opt_state = jax.tree.map(moved, state.opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByScheduleState))
    return state.replace(step=_count(state.step, step), opt_state=opt_state)


def _count(leaf: jax.Array, value: int) -> jax.Array:
    return put_array(np.asarray(value, leaf.dtype), leaf.sharding)
