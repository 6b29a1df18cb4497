"""One training step of any stage, as a pure function."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Shaped

from labram_jax.parallel.reduction import summed_over_data
from labram_jax.parallel.state import TrainState
from labram_jax.stages.stage import Batch, Stage, Statistics
from labram_jax.training import guard as guarding
from labram_jax.training.optimizer import Schedule, only_trained

PyTree = Any
Metrics = dict[str, Shaped[Array, ""]]


def make_train_step(
    stage: Stage, optimizer: optax.GradientTransformation, learning_rate: Schedule, trainable: PyTree | None = None
) -> Callable[[TrainState, Batch, Shaped[Array, " W"]], tuple[TrainState, Metrics]]:
    """The pure step: gradients of the stage's loss, one update, metrics of the step. It takes `step_seed` last.

    A step whose numbers have gone wrong changes nothing but its number and the schedule (`guard.judge`). Among the
    metrics are "loss", "grad_norm", "learning_rate", and "skipped_in_a_row": how many steps up to this one changed
    nothing.
    With `optimizer.accumulate` = n, gradients are taken of n microbatches, one after another; what comes out is that
    of the whole batch. Gradients are summed over the mesh's `data` once, in `optimizer.reduce_dtype`. Randomness is a
    function of the seed, of `state.step` and of the row alone.
    """
    config = stage.config.optimizer

    def train_step(state: TrainState, batch: Batch, seed: Shaped[Array, " W"]) -> tuple[TrainState, Metrics]:
        seed_key = jax.random.wrap_key_data(seed)
        row_key, statistics_key = jax.random.split(jax.random.fold_in(seed_key, state.step))
        rows = jnp.arange(len(next(iter(batch.values()))))
        keys = jax.vmap(lambda row: jax.random.fold_in(row_key, row))(rows)

        def gradients_of(common: PyTree, batch: Batch, keys: jax.Array) -> tuple[PyTree, PyTree, PyTree]:
            params, collections, frozen, denominators, step = common

            def microbatch(batch: Batch, keys: jax.Array) -> tuple[PyTree, Statistics]:
                return jax.grad(stage.loss, has_aux=True)(params, collections, frozen, batch, keys, denominators, step)

            gradients, found = _over_microbatches(microbatch, config.accumulate, batch, keys)
            return gradients, (found.metrics, found.sums), found.rows

        common = (state.params, state.collections, state.frozen, stage.denominators(batch), state.step)
        gradients, sums, rows = summed_over_data(gradients_of, config.reduce_dtype)(common, batch, keys)
        statistics = Statistics(*sums, rows)
        collections, metrics = stage.apply_statistics(state.collections, statistics, statistics_key, state.step)
        if trainable is not None:
            gradients = only_trained(gradients, trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        norm = optax.global_norm(gradients)
        counts, guard = guarding.judge(stage.config.guard, state.guard, metrics["loss"], norm)
        after = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            collections=nn.unbox(collections),
            opt_state=opt_state,
            guard=guard,
        )
        told = {"grad_norm": norm, "learning_rate": learning_rate(state.step), "skipped_in_a_row": guard["in_a_row"]}
        return guarding.chosen(counts, after, state), {**told, **metrics}

    return train_step


def _over_microbatches(
    function: Callable[..., tuple[PyTree, Statistics]], count: int, *arrays: PyTree
) -> tuple[PyTree, Statistics]:
    """`function` of batches, which adds up over rows, evaluated on `count` microbatches one after another.

    Microbatch i has the rows i, i + count, ...: so every device splits the rows that it has.
    """
    if count == 1:
        return function(*arrays)
    stacked = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, count, *x.shape[1:]), 1, 0), arrays)

    def step(sums: PyTree, microbatch: PyTree) -> tuple[PyTree, PyTree]:
        gradients, statistics = function(*microbatch)
        return jax.tree.map(jnp.add, sums, (gradients, statistics.metrics, statistics.sums)), statistics.rows

    gradients, statistics = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], stacked))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (gradients, statistics.metrics, statistics.sums))
    (gradients, metrics, sums), rows = jax.lax.scan(step, zeros, stacked)
    rows = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), rows)
    return gradients, Statistics(metrics, sums, rows)


def seed_keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Keys for the first weights and for the steps."""
    first, steps = jax.random.split(jax.random.key(seed))
    return first, steps


def step_seed(seed: int) -> Shaped[np.ndarray, " W"]:
    """The words of the key for the steps: an argument of theirs, so that runs of other seeds need no other program."""
    _, steps = seed_keys(seed)
    return np.asarray(jax.random.key_data(steps))
