"""A training that began elsewhere goes on here: its moments and counts take the places of fresh ones."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from labram_jax.checkpoints.models import load_item
from labram_jax.parallel.sharding import put_array, replaced
from labram_jax.parallel.state import Averages, TrainState, averages_of, with_averages
from labram_jax.stages.stage import PyTree, Resumption


def carry_over(state: TrainState, resumption: Resumption, position: int) -> TrainState:
    """The state at step `position`, with AdamW's moments and its count of updates from `resumption`.

    The learning rate goes on where `position` lies in the schedule of this run. Parameters that are not trained here
    take no moments, and those that were not trained there begin with fresh ones. Raises InputError where moments do not
    fit the parameters.
    """

    def carried(node: PyTree) -> PyTree:
        if isinstance(node, optax.ScaleByAdamState):
            return node._replace(
                count=_count(node.count, resumption.updates),
                mu=replaced(node.mu, _trained(resumption.first, node.mu)),
                nu=replaced(node.nu, _trained(resumption.second, node.nu)),
            )
        return node

    opt_state = jax.tree.map(carried, state.opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))
    return at_step(state.replace(opt_state=opt_state), position)


def averaging_from(state: TrainState, model: PyTree, resumption: Resumption | None = None) -> TrainState:
    """The state whose averages, if it keeps any, are the parameters `model` (numpy, all or some of them).

    What moves is what `resumption` has of that, whether or not averages are kept here.
    """
    if resumption is not None and resumption.moved is not None:
        state = state.replace(params=replaced(state.params, _trained(resumption.moved, state.params)))
    found = averages_of(state.opt_state)
    if found is None:
        return state
    averaged = replaced(found.averaged, _trained(model, found.averaged))
    count = _count(found.count, resumption.averaged_updates if resumption else 0)
    return state.replace(opt_state=with_averages(state.opt_state, Averages(count, averaged)))


def at_step(state: TrainState, step: int) -> TrainState:
    """The state at another place in the data and in the schedule of the learning rate."""

    def moved(node: PyTree) -> PyTree:
        scheduled = isinstance(node, optax.ScaleByScheduleState)
        return node._replace(count=_count(node.count, step)) if scheduled else node

    opt_state = jax.tree.map(moved, state.opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByScheduleState))
    return state.replace(step=_count(state.step, step), opt_state=opt_state)


def read_resumption(where: Path, meta: dict) -> Resumption | None:
    """Moments and counts (numpy) in the checkpoint `where`, of which `meta` is told; None for an exported model.

    What else is in an optimizer's state (clipping, layer-wise rates, what is not trained) has no numbers, so that it
    may be another here.
    """
    if not (where / "optimizer").is_dir():
        return None
    nodes = list(_nodes(load_item(where, "optimizer", meta)))
    adam = next(node for node in nodes if node.keys() == set(optax.ScaleByAdamState._fields))
    resumption = Resumption(adam["mu"], adam["nu"], int(adam["count"]), epochs=0)
    own = next((node for node in nodes if node.keys() == set(Averages._fields)), None)
    if own is None:
        return resumption
    return dataclasses.replace(resumption, moved=own["averaged"], averaged_updates=int(own["count"]))


def guard_of(meta: Mapping[str, Any], wanted: PyTree) -> PyTree:
    """What a checkpoint's meta knows of its numbers; what was not saved, or of another window of steps, begins anew."""
    saved = meta.get("guard", {})

    def restored(name: str, like: jax.Array | jax.ShapeDtypeStruct) -> jax.Array:
        value = np.asarray(saved.get(name, 0), like.dtype)
        return put_array(value if value.shape == like.shape else np.zeros(like.shape, like.dtype), like.sharding)

    return {name: restored(name, like) for name, like in wanted.items()}


def _nodes(tree: PyTree) -> Iterator[Mapping]:
    """All mappings in a tree of mappings and sequences, from the root on."""
    if isinstance(tree, Mapping):
        yield tree
    for part in tree.values() if isinstance(tree, Mapping) else tree if isinstance(tree, list | tuple) else ():
        yield from _nodes(part)


def _trained(moments: PyTree, own: PyTree) -> PyTree:
    """`moments` without those that were not kept there (None), or for which there is no place in `own`."""
    if not isinstance(moments, Mapping) or not isinstance(own, Mapping):
        return moments
    absent = {name for name, part in moments.items() if part is None or isinstance(own.get(name), optax.MaskedNode)}
    return {name: _trained(part, own.get(name)) for name, part in moments.items() if name not in absent}


def _count(leaf: jax.Array, value: int) -> jax.Array:
    return put_array(np.asarray(value, leaf.dtype), leaf.sharding)
