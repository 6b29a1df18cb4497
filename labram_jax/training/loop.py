"""The one loop: it steps, evaluates, logs, saves, stops and resumes whatever stage it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.configfile import to_dict
from labram_jax.errors import InputError
from labram_jax.parallel.processes import told_by_first
from labram_jax.parallel.state import TrainState
from labram_jax.parallel.stopping import StopRequest
from labram_jax.parallel.watchdog import Watchdog
from labram_jax.stages.stage import Batch
from labram_jax.training.evaluating import HostBatches, evaluate
from labram_jax.training.feed import Feed
from labram_jax.training.guard import passed_over
from labram_jax.training.interval import Interval
from labram_jax.training.probing import Probe, Scores
from labram_jax.training.program import Program
from labram_jax.training.readback import Readback
from labram_jax.training.skips import GoneWrong, Skips
from labram_jax.training.telemetry import Telemetry
from labram_jax.training.trace import Trace
from labram_jax.training.triggers import EVALUATE, PROBE, SAVE, Triggers


@dataclass
class Loop:
    """The loop's own state on the host, from the first step to the last.

    Attributes:
        program: what is trained.
        checkpoints: where its states go.
        telemetry, trace: what is shown of it.
        stop, watchdog: when it ends early.
        triggers: when it is evaluated and saved.
        feed: its batches.
        skips: who hears of steps that changed nothing.
        restore: gives the state to go back to, its step, and what to tell of it.
        validation: makes one pass over the validation split.
        total: steps of the whole training.
        interval: takes the metrics of steps until they are logged.
        probe: what is made of the encoder now and then.
        stopped: whether it was asked to stop before all was done.
        ended: whether so many evaluations found nothing better that the stage's patience is at an end.
        scores: of the last evaluation on the validation split.
    """

    program: Program
    checkpoints: CheckpointDirectory
    telemetry: Telemetry
    trace: Trace
    stop: StopRequest
    watchdog: Watchdog
    triggers: Triggers
    feed: Feed
    skips: Skips
    restore: Callable[[], tuple[TrainState, int, list[str]]]
    validation: Callable[[], HostBatches] | None
    total: int
    interval: Interval
    probe: Probe | None = None
    stopped: bool = False
    ended: bool = False
    scores: dict[str, float] = field(default_factory=dict)
    _readback: Readback = field(default_factory=Readback)
    _learning_rate: float = 0.0
    _warned: bool = False
    _went_back: int = 0

    def run(self, state: TrainState, start: int) -> tuple[TrainState, int]:
        """Steps from `start` to the end or to a request to stop; returns the state and the steps done."""
        self._catch_up(state, start)
        self._begin_probing(state, start)
        self._went_back = int(state.guard["went_back"])
        done = start
        self._lose_patience(start)
        while done < self.total and not (self.stopped or self.ended):
            try:
                state, done = self._step_from(state, done)
            except GoneWrong as wrong:
                state, done = self._go_back(wrong.done), wrong.done
                if due := self.triggers.due(done):
                    self._act(state, done, due, stopping=False)
        return state, done

    def _step_from(self, state: TrainState, done: int) -> tuple[TrainState, int]:
        steps, batch = self._put_next(done)
        while steps and not (self.stopped or self.ended):
            state, metrics = self._dispatch(state, steps, batch)
            self.stop.at_stake = True  # not before: the first program is also compiled here
            done = steps.stop
            read = self._readback.add(steps, metrics)
            steps, batch = self._put_next(done)  # goes to the devices while they are busy with these steps
            self._account(read)
            self._finish_trace(done)
            due, stopping = self.triggers.due(done), self.stop.asked()
            if due or stopping:
                self._act(state, done, due, stopping)
        return state, done

    def _go_back(self, done: int) -> TrainState:
        """The state of the last checkpoint, else the first, which stands for that after `done` steps."""
        self.checkpoints.wait()
        if self._went_back == self.program.stage.config.guard.go_back:
            saved = self.checkpoints.steps
            raise InputError(self.skips.report(done, self.checkpoints.run, saved[-1] if saved else None))
        self._went_back += 1
        state, saved, _ = self.restore()
        self.skips.tell_return(done, saved)
        self._readback = Readback()
        self.feed.move_to(done)
        return passed_over(state, done, self._went_back)

    def _put_next(self, step: int) -> tuple[range, Batch | None]:
        """The steps of the program after `step` steps, none after the last, and their batch on its way."""
        if step >= self.total or self.stopped or self.ended:
            return range(0), None
        steps = self.triggers.steps_from(step)
        return steps, self.feed.put_next(len(steps))

    def _dispatch(self, state: TrainState, steps: range, batch: Batch | None) -> tuple[TrainState, dict]:
        """The state after some steps, and the metrics of each, as soon as the devices get there."""
        if batch is None:
            raise InputError(
                f"the training data ended at step {steps.start} of {self.total}: give the loader an endless one."
            )
        if steps.start in self.program.events:
            state = self.program.before_step(steps.start, state, batch)
        with self.trace.step(steps.start):
            return (self.program.train_step if len(steps) == 1 else self.program.train_steps)(state, batch)

    def _account(self, results: list[tuple[range, dict[str, np.ndarray]]]) -> None:
        """Takes the metrics of some steps, in order, and logs when it is time; `GoneWrong` ends it."""
        log_every = self.program.stage.config.loop.log_every
        if results:
            self.interval.arrive(sum(len(steps) for steps, _ in results), self.feed.waited)
        for steps, metrics in results:
            self.watchdog.beat()
            columns = {name: np.atleast_1d(values).tolist() for name, values in metrics.items()}
            for place, step in enumerate(steps):
                values = {name: column[place] for name, column in columns.items()}
                skipped = int(values.pop("skipped_in_a_row"))
                self._learning_rate = values.pop("learning_rate")
                self.interval.add_skipped() if skipped else self.interval.add(values)
                self.telemetry.advance(f"loss {values['loss']:.4f}")
                if (step + 1) % log_every == 0:
                    self._log(step + 1)
                if skipped:
                    self.skips.take(step, values, skipped)

    def _log(self, done: int) -> None:
        """Logs the interval that ends after `done` steps, unless nothing is in it."""
        if not len(self.interval):
            return
        values, seconds = self.interval.close()
        values["learning_rate"] = self._learning_rate
        self.telemetry.log_interval(done, values, seconds)
        warning = "loss" in values and self.program.stage.warn_about(done, values)  # no loss where no step counted
        if warning and not self._warned:
            self.telemetry.say(f"step {done}: {warning}")
        self._warned = bool(warning)

    def _act(self, state: TrainState, done: int, due: set[str], stopping: bool) -> None:
        """Evaluates and saves the state after `done` steps as is due, or saves it because of a request to stop."""
        self._account(self._readback.rest())  # training goes back before a state that is given up is evaluated or saved
        # Every evaluation and checkpoint ends a logged interval, so a resumed run logs what an unbroken one does.
        self._log(done)
        self.telemetry.flush()  # before the checkpoint: a run that goes on from it has a log without a gap
        scores = {} if stopping else self._judge(state, done, due)
        self.stopped = self.stopped or (stopping and (bool(due & {EVALUATE, PROBE}) or done < self.total))
        self._lose_patience(done, scores)
        if SAVE in due or self.stopped or self.ended or self.checkpoints.improves(scores):
            self.checkpoints.save(done, state, to_dict(self.program.stage.config), scores)
        if self.stopped:
            self._say_stopped(done)
        self.interval.pause(self.feed.waited)

    def _lose_patience(self, done: int, scores: Mapping[str, float] | None = None) -> None:
        """Ends training after `done` steps if the stage's patience is; `scores` are those of now, if there are any."""
        patience, best = self.program.stage.patience, self.checkpoints.best
        if patience is None or best is None or self.stopped or (scores and self.checkpoints.improves(scores)):
            return
        since = self.triggers.count(EVALUATE, best["step"], done)
        self.ended = since >= patience and done < self.total
        if self.ended:
            self.telemetry.say(
                f"training ends at step {done}: {since} evaluations since step {best['step']} found no better "
                f"{best['metric']}"
            )

    def _catch_up(self, state: TrainState, start: int) -> None:
        """Evaluates the checkpoint that is gone on from where a request to stop had left it without its scores."""
        if start not in self.checkpoints.steps or self.checkpoints.meta(start)["metrics"]:
            return
        due = {act for act in (EVALUATE, PROBE) if self.triggers.due_by_steps(act, start)}
        scores = self._judge(state, start, due)
        if self.stopped:
            self._say_stopped(start)
        elif due:
            self.checkpoints.add_metrics(start, scores)

    def _begin_probing(self, state: TrainState, start: int) -> None:
        """Logs what stands beside probes, and the probe of what the run begins with, unless the log has it already."""
        if self.probe is None or self.stopped or start >= self.total:
            return
        known = told_by_first(lambda: [split for split in self.probe.splits if self.telemetry.first(split)])
        if set(known) == set(self.probe.splits):
            return
        found = self._probed(state)
        if self.stopped:
            self._say_stopped(start)
            return
        found = self.probe.references() | found
        self._tell(start, {split: scores for split, scores in found.items() if split not in known})

    def score(self, state: TrainState, step: int, test: Callable[[], HostBatches]) -> dict[str, float]:
        """Metrics of the best checkpoint, else of `state`, on the test split; none if asked to stop."""
        best = self.checkpoints.best
        if best is not None and best["step"] != step:
            self.checkpoints.wait()
            step = best["step"]
            state = self.program.with_frozen(self.checkpoints.restore(step, self.program.abstract))
        found = self._evaluated(state, "test", test)
        if self.stopped:
            self._say_stopped(self.total)
        self._tell(step, found)
        return found.get("test", {})

    def _judge(self, state: TrainState, step: int, due: set[str]) -> dict[str, float]:
        """What a checkpoint says of the state after `step` steps: scores on validation and of probes, as they are due.

        They are logged and told together, or not at all where a request to stop comes between.
        """
        found = self._evaluated(state, "validation", self.validation) if EVALUATE in due else {}
        probes = self._probed(state) if PROBE in due and not self.stopped else {}
        if self.stopped:
            return {}
        self._tell(step, found | probes)
        self.scores = found.get("validation", self.scores)
        return found.get("validation", {}) | {
            f"{split}/{name}": value for split, scores in probes.items() for name, value in scores.items()
        }

    def _evaluated(
        self, state: TrainState, split: str, batches: Callable[[], HostBatches]
    ) -> dict[str, dict[str, float]]:
        """Metrics of a split, by its name; none where a request to stop comes between its batches."""
        scores = evaluate(self.program, state.exchanged.variables, state.frozen, batches(), self._stopping)
        self.stopped = self.stopped or scores is None
        return {} if scores is None else {split: scores}

    def _probed(self, state: TrainState) -> Scores:
        """Scores of the probes by their splits; none where a request to stop comes between batches."""
        found = self.probe.scores(state.exchanged.params, self._stopping)
        self.stopped = self.stopped or found is None
        return found or {}

    def _stopping(self) -> bool:
        """Asked between batches that change nothing."""
        self.watchdog.beat()
        return self.stop.asked()

    def _tell(self, step: int, found: Scores) -> None:
        """Logs scores by their splits, and tells them."""
        for split, scores in found.items():
            self.telemetry.log(step, split, scores)
        self.telemetry.flush()
        for split, scores in found.items():
            probed = self.probe is not None and split in self.probe.metrics
            told = self.probe.told(step, split, scores, self.telemetry.first) if probed else _brief(scores)
            self.telemetry.say(f"step {step} {split}: {told}")

    def _finish_trace(self, done: int) -> None:
        if self.trace.complete(done):
            self._account(self._readback.rest())
            self.telemetry.say(self.trace.finish())

    def _say_stopped(self, done: int) -> None:
        self.telemetry.say(f"stopped at step {done} of {self.total}: the same command goes on from there")


def _brief(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
