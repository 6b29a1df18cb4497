"""The one loop: it steps, evaluates, logs, saves, stops and resumes whatever stage it is given."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from labram_jax.checkpoints.carryover import carry_over
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.files import CONFIG, LOCK, local_directory
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.jsonfile import write_json
from labram_jax.lock import held
from labram_jax.parallel.processes import check_shared
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.parallel.state import TrainState
from labram_jax.parallel.stopping import StopRequest
from labram_jax.stages.stage import Batch, Stage
from labram_jax.training.evaluating import HostBatches, evaluate
from labram_jax.training.program import Program, prepare
from labram_jax.training.readback import Readback
from labram_jax.training.telemetry import Interval, Telemetry


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `train` ended.

    Attributes:
        step: batches seen.
        finished: False if it was asked to stop before the last step, or before what is evaluated after it.
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
    with StopRequest() as stop:
        program = prepare(stage, mesh, total, steps_per_epoch)
        check_shared(run)
        with _one_trainer(run), CheckpointDirectory(run, options.keep, stage.selection) as checkpoints:
            state, start, origin = _restore_or_create(program, checkpoints, total, steps_per_epoch)
            if jax.process_index() == 0:
                write_json(run / CONFIG, to_dict(stage.config))
            with Telemetry(run, stage.name, start, total, steps_per_epoch, tensorboard) as telemetry:
                for note in (*origin, *notes):
                    telemetry.say(note)
                loop = _Loop(program, checkpoints, telemetry, stop, total, steps_per_epoch)
                state, step = loop.run(state, start, loader, validation)
                scores = {} if loop.stopped or test is None else loop.score(state, step, test)
            checkpoints.wait()
            return TrainingResult(step, not loop.stopped, checkpoints.best, loop.validation, scores)


def _one_trainer(run: Path) -> contextlib.AbstractContextManager:
    """Refuses a second training in the same directory; the first process holds the lock for all of its job."""
    if jax.process_index() != 0:
        return contextlib.nullcontext()
    run.mkdir(parents=True, exist_ok=True)
    return held(run / LOCK, f"the run {run}")


def _restore_or_create(
    program: Program, checkpoints: CheckpointDirectory, total: int, steps_per_epoch: int
) -> tuple[TrainState, int, list[str]]:
    """The state to go on from, its step, and what to tell the user about it."""
    if not checkpoints.steps:
        return _create(program, total, steps_per_epoch)
    notes: list[str] = []

    def check(meta: dict) -> None:
        notes[:] = check_resumable(checkpoints.run, meta["config"], to_dict(program.stage.config))

    step, state = checkpoints.restore_latest(program.abstract, check)
    if step < total:
        notes.insert(0, f"resuming from step {step} of {total} in {checkpoints.run}")
    else:
        notes.insert(
            0,
            f"{checkpoints.run} is complete at step {step}: raise loop.epochs to train longer, "
            "or give another run directory to start again",
        )
    return program.with_frozen(state), step, notes


def _create(program: Program, total: int, steps_per_epoch: int) -> tuple[TrainState, int, list[str]]:
    """A new state, or that of a training that began elsewhere."""
    resumption = program.stage.resumption()
    if resumption is None:
        return program.create_state(), 0, []
    step = resumption.epochs * steps_per_epoch
    if step >= total:
        raise InputError(
            f"the training to go on from has {resumption.epochs} epochs behind it, and loop.epochs is "
            f"{program.stage.config.loop.epochs:g}: raise loop.epochs."
        )
    state = carry_over(program.create_state(), resumption, step)
    note = f"going on at step {step} of {total}, with the moments of {resumption.updates} updates"
    return state, step, [note]


@dataclass
class _Loop:
    """The loop's own state on the host, from the first step to the last."""

    program: Program
    checkpoints: CheckpointDirectory
    telemetry: Telemetry
    stop: StopRequest
    total: int
    steps_per_epoch: int
    interval: Interval = field(default_factory=Interval)
    readback: Readback = field(default_factory=Readback)
    validation: dict[str, float] = field(default_factory=dict)
    learning_rate: float = 0.0
    warned: bool = False
    stopped: bool = False

    def run(
        self,
        state: TrainState,
        start: int,
        loader: Callable[[int], Iterator[Mapping[str, np.ndarray]]],
        validation: Callable[[], HostBatches] | None,
    ) -> tuple[TrainState, int]:
        """Steps from `start` to the end or to a request to stop; returns the state and the steps done."""
        options = self.program.stage.config.loop
        if validation is not None:
            self._catch_up(state, start, validation)
            if self.stopped:
                return state, start
        batches = loader(start) if start < self.total else iter(())
        batch = self._ahead(batches, start)
        for step in range(start, self.total):
            state, metrics = self._step(state, step, batch)
            done = step + 1
            batch = self._ahead(batches, done)  # goes to the devices while they are busy with this step
            self._account(self.readback.add(step, metrics))
            evaluating = validation is not None and self._due(done, options.evaluate_every_epochs)
            saving, stopping = self._due(done, options.save_every_epochs), self.stop.asked()
            if not (evaluating or saving or stopping):
                continue
            self._account(self.readback.rest())  # raises before a state that is not finite is evaluated or saved
            # Every evaluation and checkpoint ends a logged interval, so a resumed run logs what an unbroken one does.
            self._log(done)
            scores = self._evaluate(state, done, "validation", validation) if evaluating and not stopping else {}
            self.validation = scores or self.validation
            self.stopped = self.stopped or (stopping and (evaluating or done < self.total))
            if saving or self.stopped or self.checkpoints.improves(scores):
                self.checkpoints.save(done, state, to_dict(self.program.stage.config), scores)
            self.interval.pause()
            if self.stopped:
                self._say_stopped(done)
                return state, done
        return state, max(start, self.total)

    def _catch_up(self, state: TrainState, start: int, validation: Callable[[], HostBatches]) -> None:
        """Evaluates the checkpoint that is gone on from where a request to stop had left it without its scores."""
        if start not in self.checkpoints.steps or self.checkpoints.meta(start)["metrics"]:
            return
        if self._due(start, self.program.stage.config.loop.evaluate_every_epochs):
            self.validation = self._evaluate(state, start, "validation", validation)
            if self.stopped:
                self._say_stopped(start)
            else:
                self.checkpoints.add_metrics(start, self.validation)

    def score(self, state: TrainState, step: int, test: Callable[[], HostBatches]) -> dict[str, float]:
        """Metrics of the best checkpoint, else of `state`, on the test split; none if asked to stop."""
        best = self.checkpoints.best
        if best is not None and best["step"] != step:
            self.checkpoints.wait()
            step = best["step"]
            state = self.program.with_frozen(self.checkpoints.restore(step, self.program.abstract))
        scores = self._evaluate(state, step, "test", test)
        if self.stopped:
            self._say_stopped(self.total)
        return scores

    def _ahead(self, batches: Iterator[Mapping[str, np.ndarray]], step: int) -> Batch | None:
        """The batch of `step` on its way to the devices; None where there is none or after the last step."""
        batch = next(batches, None) if step < self.total else None
        return batch and put_batch(batch, self.program.mesh)

    def _step(self, state: TrainState, step: int, batch: Batch | None) -> tuple[TrainState, dict[str, jax.Array]]:
        if batch is None:
            raise InputError(f"the training data ended at step {step} of {self.total}: give the loader an endless one.")
        if step in self.program.events:
            state = self.program.before_step(step, state, batch)
        return self.program.train_step(state, batch)

    def _evaluate(
        self, state: TrainState, step: int, split: str, batches: Callable[[], HostBatches]
    ) -> dict[str, float]:
        """Metrics of a split, logged and told; none where a request to stop comes between its batches."""
        scores = evaluate(self.program, state.variables, state.frozen, batches(), self.stop.asked)
        if scores is None:
            self.stopped = True
            return {}
        self.telemetry.log(step, split, scores)
        self.telemetry.say(f"step {step} {split}: {_brief(scores)}")
        return scores

    def _account(self, results: list[tuple[int, dict[str, np.ndarray]]]) -> None:
        """Checks the metrics of some steps, in order, and logs when it is time."""
        for step, metrics in results:
            values = {name: float(value) for name, value in metrics.items()}
            if not values.pop("finite"):
                raise InputError(self._not_finite(step, values))
            self.learning_rate = values.pop("learning_rate")
            self.interval.add(values)
            self.telemetry.advance(f"loss {values['loss']:.4f}")
            if (step + 1) % self.program.stage.config.loop.log_every == 0:
                self._log(step + 1)

    def _log(self, done: int) -> None:
        if not len(self.interval):
            return
        means = {**self.interval.close(), "learning_rate": self.learning_rate}
        self.telemetry.log(done, "train", means)
        warning = self.program.stage.warn_about(done, means)
        if warning and not self.warned:
            self.telemetry.say(f"step {done}: {warning}")
        self.warned = bool(warning)

    def _due(self, done: int, every_epochs: float) -> bool:
        return done == self.total or done % max(1, round(every_epochs * self.steps_per_epoch)) == 0

    def _say_stopped(self, done: int) -> None:
        self.telemetry.say(f"stopped at step {done} of {self.total}: the same command goes on from there")

    def _not_finite(self, step: int, metrics: Mapping[str, float]) -> str:
        name = "grad_norm" if np.isfinite(metrics["loss"]) else "loss"
        what = "loss" if name == "loss" else "norm of the gradients"
        self.checkpoints.wait()
        saved = self.checkpoints.steps
        kept = f"the checkpoint of step {saved[-1]} is good" if saved else "no checkpoint was written yet"
        return (
            f"the {what} is {metrics[name]} at step {step + 1}, so training stopped ({kept}): look for bad windows in "
            "the corpora, lower optimizer.learning_rate, lengthen optimizer.warmup_epochs or set optimizer.clip_norm."
        )


def _brief(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
