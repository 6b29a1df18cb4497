"""Everything that is compiled for a stage on a mesh, in one place and under one set of sharding rules."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from labram_jax.config import AnyStageConfig
from labram_jax.errors import InputError
from labram_jax.parallel import sharding
from labram_jax.parallel.state import TrainState
from labram_jax.stages.stage import Batch, Event, Stage
from labram_jax.training import guard as guarding
from labram_jax.training.optimizer import make_optimizer
from labram_jax.training.step import make_train_step, seed_keys, step_seed

PyTree = Any
# What a platform's compiler is told, in training and in `plan` alike. A TPU's would take products of sliced parameters
# apart and pass the slices round in thousands of small steps that nothing hides; gathers of whole blocks are shorter.
COMPILER_OPTIONS = {"tpu": {"xla_jf_spmd_threshold_for_windowed_einsum_mib": 1_000_000}}


@dataclass(eq=False)
class Compiled:
    """A pure function of a stage, compiled where it is first called: on its mesh and under the rules, whoever calls.

    `seed`: the words of a key that it takes last; they go to the devices at the first call, and no more.
    """

    name: str
    mesh: Mesh
    jitted: Any
    seed: np.ndarray | None = None
    _placed: tuple[jax.Array, ...] | None = field(default=None, init=False)

    def __call__(self, *arguments: PyTree) -> PyTree:
        if self._placed is None:
            everywhere = sharding.replicated(self.mesh)
            self._placed = tuple(sharding.put_array(own, everywhere) for own in self._last)
        with jax.set_mesh(self.mesh):
            return self.jitted(*arguments, *self._placed)

    def lower(self, *shapes: PyTree) -> jax.stages.Lowered:
        """The function for arguments of these shapes, ready for a compiler; the devices need not be there."""
        everywhere = sharding.replicated(self.mesh)
        seed = (jax.ShapeDtypeStruct(own.shape, own.dtype, sharding=everywhere) for own in self._last)
        with jax.set_mesh(self.mesh):
            return self.jitted.lower(*shapes, *seed)

    @property
    def _last(self) -> tuple[np.ndarray, ...]:
        return () if self.seed is None else (self.seed,)


@dataclass(frozen=True)
class Program:
    """A stage on a mesh, ready to make a state, to step and to evaluate it; holds no arrays.

    Attributes:
        stage: what is trained.
        mesh: where.
        optimizer: how gradients become updates.
        abstract: shapes, types and shardings of the state.
        fresh_variables: key -> the variables of a model that knows nothing.
        fresh_optimizer: params -> the optimizer's state before the first step.
        train_step: (state, batch) -> (state, metrics); the given state's memory is reused.
        train_steps: (state, stacked batches) -> (state, metrics of each step), for `loop.steps_per_dispatch` steps in
            one program; None where that is 1.
        evaluate_batch: (variables, frozen, batch) -> the stage's `Statistics` of the batch, whole on every device.
        events: step -> (params, collections, batch) -> collections, for what happens before that step.
    """

    stage: Stage
    mesh: Mesh
    optimizer: optax.GradientTransformation
    abstract: TrainState
    fresh_variables: Compiled
    fresh_optimizer: Compiled
    train_step: Compiled
    train_steps: Compiled | None
    evaluate_batch: Compiled
    events: Mapping[int, Compiled]

    def of(self, stage: Stage) -> "Program":
        """This for a stage of the same recipe, with its seed."""
        seed = step_seed(stage.config.loop.seed)
        several = self.train_steps and dataclasses.replace(self.train_steps, seed=seed)
        step = dataclasses.replace(self.train_step, seed=seed)
        return dataclasses.replace(self, stage=stage, train_step=step, train_steps=several)

    def create_state(self) -> TrainState:
        """The state at step 0; depends on the seed alone, not on the mesh."""
        key, _ = seed_keys(self.stage.config.loop.seed)
        variables = sharding.replaced(self.fresh_variables(key), self.stage.initial())
        params = variables.pop("params")
        return TrainState(
            step=sharding.put_array(np.zeros((), np.int32), self.abstract.step.sharding),
            params=params,
            collections=variables,
            opt_state=self.fresh_optimizer(params),
            guard=sharding.put_like(guarding.fresh(self.stage.config.guard), self.abstract.guard),
            frozen=sharding.put_like(self.stage.frozen, self.abstract.frozen),
        )

    def with_frozen(self, state: TrainState) -> TrainState:
        """The state as read from a checkpoint, with the constants that checkpoints leave out."""
        return state.replace(frozen=sharding.put_like(self.stage.frozen, self.abstract.frozen))

    def put_model(self, variables: Mapping[str, PyTree]) -> tuple[dict[str, PyTree], PyTree]:
        """A model's variables (numpy) and the stage's constants where `evaluate_batch` takes them."""
        placed = sharding.put_like(dict(variables), self.abstract.variables)
        return placed, sharding.put_like(self.stage.frozen, self.abstract.frozen)

    def before_step(self, step: int, state: TrainState, batch: Batch) -> TrainState:
        """The state after the event of `step`, which must have one."""
        return state.replace(collections=self.events[step](state.params, state.collections, batch))

    def lower(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.stages.Lowered]:
        """All programs of the stage, by the names of its functions, for batches of these shapes."""
        state = self.abstract
        lowered = {
            self.train_step.name: self.train_step.lower(state, batch),
            self.evaluate_batch.name: self.evaluate_batch.lower(state.variables, state.frozen, batch),
        }
        if self.train_steps is not None:
            lowered[self.train_steps.name] = self.train_steps.lower(state, self._stacked(batch))
        for event in self.events.values():
            lowered[event.name] = event.lower(state.params, state.collections, batch)
        return lowered

    def _stacked(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes of what `train_steps` takes."""
        steps, places = self.stage.config.loop.steps_per_dispatch, NamedSharding(self.mesh, sharding.BATCHES)
        return {
            name: jax.ShapeDtypeStruct((steps, *one.shape), one.dtype, sharding=places) for name, one in batch.items()
        }


def prepare(stage: Stage, mesh: Mesh, total_steps: int, steps_per_epoch: int) -> Program:
    """Works out optimizer, shapes, shardings and programs of a stage, without making any array.

    Raises InputError where the mesh divides neither the arrays nor the rows of a batch.
    """
    _check_microbatches(stage.config, mesh)
    with jax.set_mesh(mesh):
        variables = sharding.abstract_variables(stage.init, mesh)
        params = variables["params"]
        trainable = stage.trainable(params)
        optimizer, learning_rate = make_optimizer(
            stage.config.optimizer, params, stage.encoder_depth, total_steps, steps_per_epoch, trainable
        )
        guard = guarding.fresh(stage.config.guard)
        abstract = sharding.abstract_state(variables, optimizer, guard, stage.frozen, mesh)
    places = sharding.shardings_of(abstract)
    everywhere = sharding.replicated(mesh)

    told = COMPILER_OPTIONS.get(mesh.devices.flat[0].platform)

    def compiled(function: Callable, taken: tuple, given: PyTree, **options) -> Compiled:
        options |= {"in_shardings": taken, "out_shardings": given, "compiler_options": told}
        return Compiled(function.__name__, mesh, jax.jit(_under_rules(function), **options))

    def fresh_variables(key: jax.Array) -> dict[str, PyTree]:
        return nn.unbox(stage.init(key))

    def fresh_optimizer(params: PyTree) -> PyTree:
        return optimizer.init(params)

    train_step = make_train_step(stage, optimizer, learning_rate, trainable)
    batch, batches = (NamedSharding(mesh, own) for own in (sharding.BATCH, sharding.BATCHES))
    stepped = (places, everywhere)
    several = stage.config.loop.steps_per_dispatch > 1
    moved = (places.params, places.collections)
    program = Program(
        stage,
        mesh,
        optimizer,
        abstract,
        compiled(fresh_variables, None, places.variables),
        compiled(fresh_optimizer, (places.params,), places.opt_state),
        compiled(train_step, (places, batch, everywhere), stepped, donate_argnums=0),
        compiled(_scanned(train_step), (places, batches, everywhere), stepped, donate_argnums=0) if several else None,
        compiled(stage.evaluate_batch, (places.variables, places.frozen, batch), everywhere),
        {
            step: compiled(_event_at(step, stage, event), (*moved, batch), places.collections)
            for step, event in stage.events().items()
        },
    )
    return program.of(stage)


class Programs:
    """Programs by the recipes of their stages: those of one share what is traced and compiled, while this is there."""

    def __init__(self):
        self._found: dict[tuple, Program] = {}

    def prepare(self, stage: Stage, mesh: Mesh, total_steps: int, steps_per_epoch: int) -> Program:
        """As the function of this name."""
        recipe = stage.recipe()
        if recipe is None:
            return prepare(stage, mesh, total_steps, steps_per_epoch)
        key = (recipe, mesh, total_steps, steps_per_epoch)
        if key not in self._found:
            make, *arguments = recipe
            self._found[key] = prepare(make(*arguments), mesh, total_steps, steps_per_epoch)
        return self._found[key].of(stage)


def _scanned(train_step: Callable) -> Callable:
    """As many steps as there are batches, one after another."""

    def train_steps(state: TrainState, batches: Batch, seed: jax.Array) -> tuple[TrainState, PyTree]:
        return jax.lax.scan(lambda state, batch: train_step(state, batch, seed), state, batches)

    return train_steps


def _under_rules(function: Callable) -> Callable:
    """`function` with the logical axes of what it computes placed by the rules."""

    def ruled(*arguments: PyTree) -> PyTree:
        with nn.logical_axis_rules(sharding.RULES):
            return function(*arguments)

    ruled.__name__ = function.__name__
    return ruled


def _event_at(step: int, stage: Stage, event: Event) -> Callable[[PyTree, dict[str, PyTree], Batch], dict[str, PyTree]]:
    """An event with its key, which the seed and the step decide: a run that resumes right there repeats it."""

    def happen(params: PyTree, collections: dict[str, PyTree], batch: Batch) -> dict[str, PyTree]:
        key = jax.random.fold_in(jax.random.key(stage.config.loop.seed), step)
        return event(params, collections, batch, key)

    happen.__name__ = event.__name__
    return happen


def _check_microbatches(config: AnyStageConfig, mesh: Mesh) -> None:
    count, rows = config.optimizer.accumulate, config.data.batch_rows
    devices = sharding.row_devices(mesh)
    if rows % (count * devices):
        raise InputError(
            f"data.batch_rows {rows} cannot be divided into optimizer.accumulate {count} microbatches over {devices} "
            f"device(s): choose a multiple of {count * devices}."
        )
