"""One training step of any stage, as a pure function."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Shaped

from labram_jax.parallel.state import TrainState
from labram_jax.stages.stage import Batch, Stage, Statistics
from labram_jax.training.optimizer import Schedule

PyTree = Any
Metrics = dict[str, Shaped[Array, ""]]


def make_train_step(
    stage: Stage, optimizer: optax.GradientTransformation, learning_rate: Schedule, trainable: PyTree | None = None
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
    """The pure step: gradients of the stage's loss, one update, metrics of the step.

    Among the metrics are "loss", "grad_norm", "learning_rate", and "finite": whether the first two are.
    With `optimizer.accumulate` = n, gradients are taken of n parts of the batch, one after another; what comes out
    is that of the whole batch. Randomness is a function of the seed, of `state.step` and of the row alone.
    """
    _, seed_key = seed_keys(stage.config.loop.seed)
    parts = stage.config.optimizer.accumulate

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        row_key, statistics_key = jax.random.split(jax.random.fold_in(seed_key, state.step))
        rows = jnp.arange(len(next(iter(batch.values()))))
        keys = jax.vmap(lambda row: jax.random.fold_in(row_key, row))(rows)
        denominators = stage.denominators(batch)

        def gradients_of(batch: Batch, keys: jax.Array) -> tuple[PyTree, Statistics]:
            return jax.grad(stage.loss, has_aux=True)(
                state.params, state.collections, state.frozen, batch, keys, denominators, state.step
            )

        gradients, statistics = _over_parts(gradients_of, parts, batch, keys)
        collections, metrics = stage.apply_statistics(state.collections, statistics, statistics_key, state.step)
        if trainable is not None:
            gradients = jax.tree.map(lambda g, keep: g if keep else jnp.zeros_like(g), gradients, trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            collections=nn.unbox(collections),
            opt_state=opt_state,
        )
        norm = optax.global_norm(gradients)
        finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(norm)
        return new, {"grad_norm": norm, "learning_rate": learning_rate(state.step), "finite": finite, **metrics}

    return train_step


def _over_parts(
    function: Callable[..., tuple[PyTree, Statistics]], parts: int, *arrays: PyTree
) -> tuple[PyTree, Statistics]:
    """`function` of batches, which adds up over rows, evaluated on `parts` parts of the rows one after another.

    Part i has the rows i, i + parts, ...: so every device splits the rows that it has.
    """
    if parts == 1:
        return function(*arrays)
    stacked = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), arrays)

    def step(sums: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        gradients, statistics = function(*part)
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
