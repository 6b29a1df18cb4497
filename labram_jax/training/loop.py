"""The one loop: it steps, evaluates, logs, saves, stops and resumes whatever stage it is given."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.files import CONFIG, LOCK, local_directory
from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.jsonfile import write_json
from labram_jax.lock import held
from labram_jax.parallel.processes import check_shared
from labram_jax.parallel.sharding import make_mesh
from labram_jax.parallel.state import TrainState
from labram_jax.parallel.stopping import StopRequest
from labram_jax.stages.stage import Batch, Stage
from labram_jax.training.evaluating import HostBatches, evaluate
from labram_jax.training.feed import Feed
from labram_jax.training.interval import Interval, StepCost
from labram_jax.training.program import Program, prepare
from labram_jax.training.readback import Readback
from labram_jax.training.start import restore_or_create
from labram_jax.training.telemetry import Telemetry
from labram_jax.training.trace import Trace
from labram_jax.training.triggers import EVALUATE, SAVE, Triggers


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
    cost: StepCost = StepCost(),
    tensorboard: bool = False,
    wandb: bool = False,
    profile: int = 0,
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
        cost: what a step goes through, which gives the speed its meaning in the log.
        tensorboard: also write TensorBoard events.
        wandb: also write to Weights & Biases.
        profile: steps to trace into RUN/profile, after those that are slow because they are the first.
        notes: what to tell before the first step.

    Raises:
        InputError: the run was started under another configuration, a checkpoint is damaged, the data ended, or the
            loss is no longer finite. The last good checkpoint stays.
        OSError: another training is in the run, or its last checkpoint could not be written.
    """
    mesh = mesh or make_mesh(stage.config.mesh)
    options, run = stage.config.loop, local_directory(run)
    total = max(1, round(options.epochs * steps_per_epoch))
    with StopRequest() as stop:
        program = prepare(stage, mesh, total, steps_per_epoch)
        config = to_dict(stage.config)
        check_shared(run)
        with _one_trainer(run), CheckpointDirectory(run, options.keep, stage.selection) as checkpoints:
            state, start, origin = restore_or_create(program, checkpoints, total, steps_per_epoch)
            if jax.process_index() == 0:
                write_json(run / CONFIG, config)
            boards = {"config": config, "tensorboard": tensorboard, "wandb": wandb}
            with (
                Telemetry(run, stage.name, start, total, steps_per_epoch, **boards) as telemetry,
                Trace(run, profile, start, total) as trace,
            ):
                for note in (*origin, *notes):
                    telemetry.say(note)
                acts = (SAVE,) if validation is None else (EVALUATE, SAVE)
                triggers = Triggers(options, total, steps_per_epoch, program.events, acts)
                feed = Feed(lambda: loader(start), mesh)
                loop = _Loop(program, checkpoints, telemetry, trace, stop, triggers, feed, validation, total, cost)
                state, step = loop.run(state, start)
                scores = {} if loop.stopped or test is None else loop.score(state, step, test)
            checkpoints.wait()
            return TrainingResult(step, not loop.stopped, checkpoints.best, loop.scores, scores)


def _one_trainer(run: Path) -> contextlib.AbstractContextManager:
    """Refuses a second training in the same directory; the first process holds the lock for all of its job."""
    if jax.process_index() != 0:
        return contextlib.nullcontext()
    run.mkdir(parents=True, exist_ok=True)
    return held(run / LOCK, f"the run {run}")


class _Loop:
    """The loop's own state on the host, from the first step to the last.

    Attributes:
        stopped: whether it was asked to stop before all was done.
        scores: of the last evaluation on the validation split.
    """

    def __init__(
        self,
        program: Program,
        checkpoints: CheckpointDirectory,
        telemetry: Telemetry,
        trace: Trace,
        stop: StopRequest,
        triggers: Triggers,
        feed: Feed,
        validation: Callable[[], HostBatches] | None,
        total: int,
        cost: StepCost,
    ):
        self._program, self._checkpoints, self._telemetry = program, checkpoints, telemetry
        self._trace, self._stop, self._triggers, self._feed = trace, stop, triggers, feed
        self._validation, self._total = validation, total
        self._readback, self._interval = Readback(), Interval(cost)
        self._learning_rate, self._warned = 0.0, False
        self.stopped = False
        self.scores: dict[str, float] = {}

    def run(self, state: TrainState, start: int) -> tuple[TrainState, int]:
        """Steps from `start` to the end or to a request to stop; returns the state and the steps done."""
        self._catch_up(state, start)
        done = start
        steps, batch = self._put_next(start)
        while steps and not self.stopped:
            state, metrics = self._dispatch(state, steps, batch)
            done = steps.stop
            read = self._readback.add(steps, metrics)
            steps, batch = self._put_next(done)  # goes to the devices while they are busy with these steps
            self._account(read)
            self._finish_trace(done)
            due, stopping = self._triggers.due(done), self._stop.asked()
            if due or stopping:
                self._act(state, done, due, stopping)
        return state, done

    def _put_next(self, step: int) -> tuple[range, Batch | None]:
        """The steps of the program after `step` steps, none after the last, and their batch on its way."""
        if step >= self._total or self.stopped:
            return range(0), None
        steps = self._triggers.steps_from(step)
        return steps, self._feed.put_next(len(steps))

    def _dispatch(self, state: TrainState, steps: range, batch: Batch | None) -> tuple[TrainState, dict]:
        """The state after some steps, and the metrics of each, as soon as the devices get there."""
        if batch is None:
            raise InputError(
                f"the training data ended at step {steps.start} of {self._total}: give the loader an endless one."
            )
        if steps.start in self._program.events:
            state = self._program.before_step(steps.start, state, batch)
        with self._trace.step(steps.start):
            return (self._program.train_step if len(steps) == 1 else self._program.train_steps)(state, batch)

    def _account(self, results: list[tuple[range, dict[str, np.ndarray]]]) -> None:
        """Checks the metrics of some steps, in order, and logs when it is time."""
        log_every = self._program.stage.config.loop.log_every
        for steps, metrics in results:
            columns = {name: np.atleast_1d(values).tolist() for name, values in metrics.items()}
            for place, step in enumerate(steps):
                values = {name: column[place] for name, column in columns.items()}
                if not values.pop("finite"):
                    raise InputError(self._not_finite(step, values))
                self._learning_rate = values.pop("learning_rate")
                self._interval.add(values)
                self._telemetry.advance(f"loss {values['loss']:.4f}")
                if (step + 1) % log_every == 0:
                    self._log(step + 1)
            self._interval.start_clock(self._feed.waited)

    def _log(self, done: int) -> None:
        """Logs the interval that ends after `done` steps, unless nothing is in it."""
        if not len(self._interval):
            return
        values, seconds = self._interval.close(self._feed.waited)
        values["learning_rate"] = self._learning_rate
        self._telemetry.log_interval(done, values, seconds)
        warning = self._program.stage.warn_about(done, values)
        if warning and not self._warned:
            self._telemetry.say(f"step {done}: {warning}")
        self._warned = bool(warning)

    def _act(self, state: TrainState, done: int, due: set[str], stopping: bool) -> None:
        """Evaluates and saves the state after `done` steps as is due, or saves it because of a request to stop."""
        self._account(self._readback.rest())  # raises before a state that is not finite is evaluated or saved
        # Every evaluation and checkpoint ends a logged interval, so a resumed run logs what an unbroken one does.
        self._log(done)
        self._telemetry.flush()  # before the checkpoint: a run that goes on from it has a log without a gap
        evaluating = EVALUATE in due
        scores = self._evaluate(state, done, "validation", self._validation) if evaluating and not stopping else {}
        self.scores = scores or self.scores
        self.stopped = self.stopped or (stopping and (evaluating or done < self._total))
        if SAVE in due or self.stopped or self._checkpoints.improves(scores):
            self._checkpoints.save(done, state, to_dict(self._program.stage.config), scores)
        if self.stopped:
            self._say_stopped(done)
        self._interval.pause(self._feed.waited)

    def _catch_up(self, state: TrainState, start: int) -> None:
        """Evaluates the checkpoint that is gone on from where a request to stop had left it without its scores."""
        if start not in self._checkpoints.steps or self._checkpoints.meta(start)["metrics"]:
            return
        if self._triggers.due_by_steps(EVALUATE, start):
            self.scores = self._evaluate(state, start, "validation", self._validation)
            if self.stopped:
                self._say_stopped(start)
            else:
                self._checkpoints.add_metrics(start, self.scores)

    def score(self, state: TrainState, step: int, test: Callable[[], HostBatches]) -> dict[str, float]:
        """Metrics of the best checkpoint, else of `state`, on the test split; none if asked to stop."""
        best = self._checkpoints.best
        if best is not None and best["step"] != step:
            self._checkpoints.wait()
            step = best["step"]
            state = self._program.with_frozen(self._checkpoints.restore(step, self._program.abstract))
        scores = self._evaluate(state, step, "test", test)
        if self.stopped:
            self._say_stopped(self._total)
        return scores

    def _evaluate(
        self, state: TrainState, step: int, split: str, batches: Callable[[], HostBatches]
    ) -> dict[str, float]:
        """Metrics of a split, logged and told; none where a request to stop comes between its batches."""
        scores = evaluate(self._program, state.variables, state.frozen, batches(), self._stop.asked)
        if scores is None:
            self.stopped = True
            return {}
        self._telemetry.log(step, split, scores)
        self._telemetry.flush()
        self._telemetry.say(f"step {step} {split}: {_brief(scores)}")
        return scores

    def _finish_trace(self, done: int) -> None:
        if self._trace.complete(done):
            self._account(self._readback.rest())
            self._telemetry.say(self._trace.finish())

    def _say_stopped(self, done: int) -> None:
        self._telemetry.say(f"stopped at step {done} of {self._total}: the same command goes on from there")

    def _not_finite(self, step: int, metrics: Mapping[str, float]) -> str:
        name = "grad_norm" if np.isfinite(metrics["loss"]) else "loss"
        what = "loss" if name == "loss" else "norm of the gradients"
        self._checkpoints.wait()
        saved = self._checkpoints.steps
        kept = f"the checkpoint of step {saved[-1]} is good" if saved else "no checkpoint was written yet"
        return (
            f"the {what} is {metrics[name]} at step {step + 1}, so training stopped ({kept}): look for bad windows in "
            "the corpora, lower optimizer.learning_rate, lengthen optimizer.warmup_epochs or set optimizer.clip_norm."
        )


def _brief(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
