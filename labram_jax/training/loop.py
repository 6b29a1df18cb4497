"""The one loop: it steps, evaluates, logs, saves, stops and resumes whatever stage it is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.training.carryover import carry_over
from labram_jax.training.checkpoints import CheckpointDirectory, local_directory, write_json
from labram_jax.training.distributed import check_shared
from labram_jax.training.resume import check_resumable
from labram_jax.training.sharding import make_mesh, put_batch, shardings_of
from labram_jax.training.stage import Batch, Stage
from labram_jax.training.state import TrainState
from labram_jax.training.step import Recipe, prepare
from labram_jax.training.stopping import StopRequest
from labram_jax.training.telemetry import Interval, Telemetry

HostBatches = Iterable[Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `train` ended.

    Attributes:
        step: batches seen.
        finished: False if it was asked to stop before the end.
        best: {"step", "metric", "value"} of the best checkpoint, if one was selected.
        validation: metrics of the last evaluation in this call.
        test: metrics of the best checkpoint (else the last) on the test split.
    """

    step: int
    finished: bool
    best: dict | None = None
    validation: dict[str, float] = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)


def train(
    stage: Stage,
    run: str | Path,
    loader: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
    steps_per_epoch: int,
    *,
    validation: Callable[[], HostBatches] | None = None,
    test: Callable[[], HostBatches] | None = None,
    mesh: Mesh | None = None,
    tensorboard: bool = False,
    notes: Sequence[str] = (),
) -> TrainingResult:
    """Trains a stage in its run directory, from its latest checkpoint if there is one.

    Args:
        stage: what to train; its configuration says how long and how often.
        run: directory of checkpoints/, best.json, config.json and metrics.jsonl.
        loader: start step -> endless iterator of batches from that step on. A batch holds this process's rows of
            the global batch (see `sharding.process_rows`), and batch n is the same whatever the start.
        steps_per_epoch: batches in one epoch.
        validation: makes one pass over the validation split; None trains without evaluation.
        test: one pass over the test split, scored once at the end with the best checkpoint.
        mesh: devices; None lays them out as the configuration says.
        tensorboard: also write TensorBoard events.
        notes: what to tell before the first step.

    Raises:
        InputError: the run was started under another configuration, a checkpoint is damaged, the data ended, or the
            loss is no longer finite. The last good checkpoint stays.
    """
    mesh = mesh or make_mesh(stage.config.mesh)
    options, run = stage.config.loop, local_directory(run)
    total = max(1, round(options.epochs * steps_per_epoch))
    with jax.set_mesh(mesh), StopRequest() as stop:
        recipe = prepare(stage, mesh, total, steps_per_epoch)
        check_shared(run)
        with CheckpointDirectory(run, options.keep, stage.selection) as checkpoints:
            state, start, origin = _restore_or_create(recipe, checkpoints, total, steps_per_epoch)
            if jax.process_index() == 0:
                write_json(run / "config.json", to_dict(stage.config))
            with Telemetry(run, stage.name, start, total, steps_per_epoch, tensorboard) as telemetry:
                for note in (*origin, *notes):
                    telemetry.say(note)
                job = _Job(recipe, checkpoints, telemetry, stop, total, steps_per_epoch)
                state, step = job.run(state, start, loader, validation)
                finished = step >= total
                scores = job.score(state, step, test) if finished and test is not None else {}
            checkpoints.wait()
            return TrainingResult(step, finished, checkpoints.best, job.validation, scores)


def _restore_or_create(
    recipe: Recipe, checkpoints: CheckpointDirectory, total: int, steps_per_epoch: int
) -> tuple[TrainState, int, list[str]]:
    """The state to go on from, its step, and what to tell the user about it."""
    if not checkpoints.steps:
        return _create(recipe, total, steps_per_epoch)
    latest = checkpoints.steps[-1]
    notes = check_resumable(checkpoints.run, checkpoints.meta(latest)["config"], to_dict(recipe.stage.config))
    state, position = checkpoints.restore(latest, recipe.abstract)
    if position < total:
        notes.insert(0, f"resuming from step {position} of {total} in {checkpoints.run}")
    else:
        notes.insert(
            0,
            f"{checkpoints.run} is complete at step {position}: raise loop.epochs to train longer, "
            "or give another run directory to start again",
        )
    return recipe.with_frozen(state), position, notes


def _create(recipe: Recipe, total: int, steps_per_epoch: int) -> tuple[TrainState, int, list[str]]:
    """A new state, or that of a training that began elsewhere."""
    resumption = recipe.stage.resumption()
    if resumption is None:
        return recipe.create_state(), 0, []
    position = resumption.epochs * steps_per_epoch
    if position >= total:
        raise InputError(
            f"the training to go on from has {resumption.epochs} epochs behind it, and loop.epochs is "
            f"{recipe.stage.config.loop.epochs:g}: raise loop.epochs."
        )
    state = carry_over(recipe.create_state(), resumption, position)
    note = f"going on at step {position} of {total}, with the moments of {resumption.updates} updates"
    return state, position, [note]


@dataclass
class _Job:
    """The loop's own state on the host, from the first step to the last."""

    recipe: Recipe
    checkpoints: CheckpointDirectory
    telemetry: Telemetry
    stop: StopRequest
    total: int
    steps_per_epoch: int
    interval: Interval = field(default_factory=Interval)
    validation: dict[str, float] = field(default_factory=dict)
    warned: bool = False

    def run(
        self,
        state: TrainState,
        start: int,
        loader: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
        validation: Callable[[], HostBatches] | None,
    ) -> tuple[TrainState, int]:
        """Steps from `start` to the end or to a request to stop; returns the state and the steps done."""
        stage, options = self.recipe.stage, self.recipe.stage.config.loop
        batches = loader(start) if start < self.total else iter(())
        pending = None
        for step in range(start, self.total):
            state, metrics = self._step(state, step, batches)
            # The metrics of the step before are read while this one runs: the device never waits for the host.
            if pending is not None:
                self._account(*pending)
            pending, done = (step, metrics), step + 1
            evaluating = validation is not None and self._due(done, options.evaluate_every_epochs)
            saving, stopping = self._due(done, options.save_every_epochs), self.stop.asked(done)
            if not (evaluating or saving or stopping):
                continue
            self._account(*pending)  # raises before a state that is not finite could be evaluated or saved
            pending = None
            # Every evaluation and checkpoint ends a logged interval, so a resumed run logs what an unbroken one does.
            self._log(done)
            scores = {}
            if evaluating and not (stopping and done < self.total):
                scores = self.validation = stage.evaluate(state, self._on_device(validation()))
                self.telemetry.log(done, "validation", scores)
                self.telemetry.say(f"step {done} validation: {_brief(scores)}")
            if saving or stopping or self.checkpoints.improves(scores):
                self.checkpoints.save(done, state, to_dict(stage.config), position=done, metrics=scores)
            self.interval.pause()
            if stopping and done < self.total:
                self.telemetry.say(f"stopped at step {done} of {self.total}: the same command goes on from there")
                return state, done
        return state, max(start, self.total)

    def score(self, state: TrainState, step: int, test: Callable[[], HostBatches]) -> dict[str, float]:
        """Metrics of the best checkpoint, else of `state`, on the test split."""
        best = self.checkpoints.best
        if best is not None and best["step"] != step:
            self.checkpoints.wait()
            step = best["step"]
            state = self.recipe.with_frozen(self.checkpoints.restore(step, self.recipe.abstract)[0])
        scores = self.recipe.stage.evaluate(state, self._on_device(test()))
        self.telemetry.log(step, "test", scores)
        self.telemetry.say(f"step {step} test: {_brief(scores)}")
        return scores

    def _step(
        self, state: TrainState, step: int, batches: Iterator[Mapping[str, np.ndarray]]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        batch = next(batches, None)
        if batch is None:
            raise InputError(f"the training data ended at step {step} of {self.total}: give the loader an endless one.")
        batch = put_batch(batch, self.recipe.mesh)
        changed = self.recipe.stage.before_step(state, batch, step)
        if changed is not state:
            state = jax.device_put(changed, shardings_of(self.recipe.abstract))
        return self.recipe.train_step(state, batch)

    def _account(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of one step to the host, checks them and logs when it is time."""
        values = {"loss": 0.0} | {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        for name in ("loss", "grad_norm"):
            if not np.isfinite(values[name]):
                raise InputError(self._not_finite(step, name, values[name]))
        self.interval.add(values)
        self.telemetry.advance(f"loss {values['loss']:.4f}")
        if (step + 1) % self.recipe.stage.config.loop.log_every == 0:
            self._log(step + 1)

    def _log(self, done: int) -> None:
        if not len(self.interval):
            return
        means = {**self.interval.close(), "learning_rate": float(self.recipe.learning_rate(done - 1))}
        self.telemetry.log(done, "train", means)
        warning = self.recipe.stage.watch(done, means)
        if warning and not self.warned:
            self.telemetry.say(f"step {done}: {warning}")
        self.warned = bool(warning)

    def _due(self, done: int, every_epochs: float) -> bool:
        return done == self.total or done % max(1, round(every_epochs * self.steps_per_epoch)) == 0

    def _on_device(self, batches: HostBatches) -> Iterator[Batch]:
        return (put_batch(batch, self.recipe.mesh) for batch in batches)

    def _not_finite(self, step: int, name: str, value: float) -> str:
        what = "loss" if name == "loss" else "norm of the gradients"
        self.checkpoints.wait()
        saved = self.checkpoints.steps
        kept = f"the checkpoint of step {saved[-1]} is good" if saved else "no checkpoint was written yet"
        return (
            f"the {what} is {value} at step {step + 1}, so training stopped ({kept}): look for bad windows in the "
            "corpora, lower optimizer.learning_rate, lengthen optimizer.warmup_epochs or set optimizer.clip_norm."
        )


def _brief(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
