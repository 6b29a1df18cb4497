"""One training step of any stage, and what must be known before it can run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from labram_jax.config import AnyStageConfig
from labram_jax.errors import InputError
from labram_jax.training import sharding
from labram_jax.training.optimizer import Schedule, make_optimizer
from labram_jax.training.stage import Batch, Found, Stage
from labram_jax.training.state import TrainState

PyTree = Any
Metrics = dict[str, Float[Array, ""]]


@dataclass(frozen=True)
class Recipe:
    """A stage on a mesh, ready to make a state and to step it; holds no arrays.

    Attributes:
        stage: what is trained.
        mesh: where.
        optimizer: how gradients become updates.
        learning_rate: of each step.
        abstract: shapes, types and shardings of the state.
        train_step: (state, batch) -> (state, metrics), jitted; the given state's memory is reused.
    """

    stage: Stage
    mesh: Mesh
    optimizer: optax.GradientTransformation
    learning_rate: Schedule
    abstract: TrainState
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]]

    def create_state(self) -> TrainState:
        """The state at step 0; depends on the seed alone, not on the mesh."""
        key, _ = _keys(self.stage.config.loop.seed)
        stage = self.stage
        return sharding.create_state(stage.init, key, self.optimizer, self.abstract, stage.initial(), stage.frozen)

    def with_frozen(self, state: TrainState) -> TrainState:
        """The state as read from a checkpoint, with the constants that checkpoints leave out."""
        return state.replace(frozen=sharding.put_frozen(self.stage.frozen, self.abstract))


def prepare(stage: Stage, mesh: Mesh, total_steps: int, steps_per_epoch: int) -> Recipe:
    """Works out optimizer, shapes, shardings and the step of a stage, without making any array."""
    with jax.set_mesh(mesh):
        variables = sharding.abstract_variables(stage.init, mesh)
        params = variables["params"]
        trainable = stage.trainable(params)
        optimizer, learning_rate = make_optimizer(
            stage.config.optimizer, params, stage.encoder_depth, total_steps, steps_per_epoch, trainable
        )
        abstract = sharding.abstract_state(variables, optimizer, stage.frozen, mesh)
    step = make_train_step(stage, optimizer, trainable)
    _check_parts(stage.config, mesh)
    places = sharding.shardings_of(abstract)
    jitted = jax.jit(
        step,
        in_shardings=(places, NamedSharding(mesh, sharding.BATCH)),
        out_shardings=(places, sharding.replicated(mesh)),
        donate_argnums=0,
    )
    return Recipe(stage, mesh, optimizer, learning_rate, abstract, jitted)


def make_train_step(stage: Stage, optimizer: optax.GradientTransformation, trainable: PyTree | None = None):
    """The pure step: gradients of the stage's loss, one update, metrics with "loss" and "grad_norm".

    With `optimizer.accumulate` = n, gradients are taken of n parts of the batch, one after another; what comes out
    is that of the whole batch. Randomness is a function of the seed, of `state.step` and of the row alone.
    """
    _, seed_key = _keys(stage.config.loop.seed)
    parts = stage.config.optimizer.accumulate

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        row_key, finish_key = jax.random.split(jax.random.fold_in(seed_key, state.step))
        rows = jnp.arange(len(next(iter(batch.values()))))
        keys, totals = jax.vmap(lambda row: jax.random.fold_in(row_key, row))(rows), stage.totals(batch)

        def gradients_of(batch: Batch, keys: jax.Array) -> tuple[PyTree, Found]:
            gradients, found = jax.grad(stage.loss, has_aux=True)(
                state.params, state.collections, state.frozen, batch, keys, totals, state.step
            )
            return gradients, found

        with nn.logical_axis_rules(sharding.RULES):
            gradients, found = _over_parts(gradients_of, parts, batch, keys)
        collections, metrics = stage.finish(state.collections, found, finish_key, state.step)
        if trainable is not None:
            gradients = jax.tree.map(lambda g, keep: g if keep else jnp.zeros_like(g), gradients, trainable)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        new = state.replace(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            collections=nn.unbox(collections),
            opt_state=opt_state,
        )
        return new, {"grad_norm": optax.global_norm(gradients), **metrics}

    return train_step


def _over_parts(function: Callable[..., tuple[PyTree, Found]], parts: int, *arrays: PyTree) -> tuple[PyTree, Found]:
    """`function` of batches, which adds up over rows, evaluated on `parts` parts of the rows one after another.

    Part i has the rows i, i + parts, ...: so every device splits the rows that it has.
    """
    if parts == 1:
        return function(*arrays)
    stacked = jax.tree.map(lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), arrays)

    def step(sums: PyTree, part: PyTree) -> tuple[PyTree, PyTree]:
        gradients, found = function(*part)
        return jax.tree.map(jnp.add, sums, (gradients, found.metrics, found.sums)), found.rows

    gradients, found = jax.eval_shape(function, *jax.tree.map(lambda x: x[0], stacked))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (gradients, found.metrics, found.sums))
    (gradients, metrics, sums), rows = jax.lax.scan(step, zeros, stacked)
    rows = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(-1, *x.shape[2:]), rows)
    return gradients, Found(metrics, sums, rows)


def _check_parts(config: AnyStageConfig, mesh: Mesh) -> None:
    parts, rows = config.optimizer.accumulate, config.data.batch_rows
    devices = sharding.row_devices(mesh)
    if rows % (parts * devices):
        raise InputError(
            f"data.batch_rows {rows} cannot be divided into optimizer.accumulate {parts} parts over {devices} "
            f"device(s): choose a multiple of {parts * devices}."
        )


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Keys for the first weights and for the steps."""
    first, steps = jax.random.split(jax.random.key(seed))
    return first, steps
