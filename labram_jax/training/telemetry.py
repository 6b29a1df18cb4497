"""What a run tells: metrics.jsonl for programs, progress for people, boards on request."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax

from labram_jax.checkpoints.files import METRICS, SKIPPED
from labram_jax.progress import Progress
from labram_jax.training.boards import Board, TensorBoard, WeightsAndBiases, tensorboardx, weights_and_biases
from labram_jax.training.metricslog import StepLog, read_metrics


class Goodput:
    """The share of the wall time since a run began to train that went into steps which count.

    The wall time runs through all starts of the run and whatever lay between them. Steps that count are those that the
    run stands on: their seconds are those between logged lines of training, without the first program of each start
    (which was also compiled), evaluations and checkpoints. Steps that were lost and done again count once.

    Args:
        before: lines of the log as an earlier start left them.
        kept: those of them that training does not write again.
    """

    def __init__(self, before: Sequence[Mapping], kept: Sequence[Mapping]):
        # Logs of earlier versions say neither.
        self.began = next((line["run_began"] for line in before if "run_began" in line), round(time.time(), 3))
        counted = [line["stepping_seconds"] for line in kept if "stepping_seconds" in line]
        self._stepping = counted[-1] if counted else 0.0

    def add(self, seconds: float) -> dict[str, float]:
        """Counts the seconds of some more steps; returns what to log of it."""
        self._stepping += seconds
        elapsed = time.time() - self.began
        return {
            "stepping_seconds": round(self._stepping, 3),
            "goodput": min(1.0, self._stepping / elapsed) if elapsed > 0 else 0.0,
        }


class Telemetry:
    """The one writer of a run's log; on every process but the first all methods do nothing.

    Args:
        run: the run's directory.
        name: the stage's, beside the progress.
        start: step that training starts from; later lines of an earlier attempt are cut.
        total: steps of the whole training.
        steps_per_epoch: batches in one epoch.
        config: the run's configuration as plain data, for boards that show it.
        tensorboard: also write TensorBoard events to run/tensorboard; needs tensorboardX.
        wandb: also write to Weights & Biases; needs wandb.
    """

    def __init__(
        self,
        run: str | os.PathLike,
        name: str,
        start: int,
        total: int,
        steps_per_epoch: int,
        *,
        config: Mapping | None = None,
        tensorboard: bool = False,
        wandb: bool = False,
    ):
        self._primary = jax.process_index() == 0
        self._first: dict[str, dict] = {}
        self._steps_per_epoch = steps_per_epoch
        packages = (tensorboardx() if tensorboard else None, weights_and_biases() if wandb else None)
        if not self._primary:
            return
        run = Path(run).absolute()
        run.mkdir(parents=True, exist_ok=True)
        before = read_metrics(run)
        self._log, self._skipped = StepLog(run / METRICS, start), StepLog(run / SKIPPED, start)
        kept = read_metrics(run)
        for line in kept:
            self._first.setdefault(line["split"], line)
        self._goodput = Goodput(before, kept)
        self._begin = time.monotonic() - max((line["seconds"] for line in kept), default=0.0)
        self._boards: list[Board] = []
        if packages[0] is not None:
            self._boards.append(TensorBoard(packages[0], run, start))
        if packages[1] is not None:
            self._boards.append(WeightsAndBiases(packages[1], run, self._goodput.began, config or {}))
        self._progress, self._speed = Progress(name, total, start), ""

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def advance(self, text: str = "") -> None:
        """One more step is done."""
        if self._primary:
            self._progress.update(1, text + self._speed)

    def say(self, message: str) -> None:
        if self._primary:
            self._progress.write(message)

    def log_interval(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """Appends a line of the split "train": the steps up to `step`, of which `seconds` were timed."""
        if self._primary:
            self._speed = _speed(values)
            self.log(step, "train", {**values, **self._goodput.add(seconds)})

    def log(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Appends a line for `split`; a value that is not finite becomes null."""
        if not self._primary:
            return
        values = {name: float(value) for name, value in metrics.items()}
        line = {
            "step": step,
            "epoch": round(step / self._steps_per_epoch, 4),
            "split": split,
            **{name: _plain(value) for name, value in values.items()},
            "seconds": round(time.monotonic() - self._begin, 3),
            "run_began": self._goodput.began,
        }
        self._log.append(line)
        self._first.setdefault(split, line)
        for board in self._boards:
            board.write(step, split, {name: value for name, value in values.items() if math.isfinite(value)})

    def first(self, split: str) -> Mapping:
        """The first line of a split since the run began, empty where there is none; the first process alone has it."""
        return self._first.get(split, {})

    def log_skipped(self, step: int, values: Mapping) -> None:
        """Appends a line to skipped.jsonl: the step of this number (from 1) changed nothing."""
        if self._primary:
            numbers = {name: _plain(value) for name, value in values.items() if isinstance(value, float)}
            self._skipped.append({"step": step, **values, **numbers})

    def flush(self) -> None:
        """Puts into the files what was logged: before what must not be ahead of the log, and before long pauses."""
        if self._primary:
            self._log.flush()
            self._skipped.flush()

    def close(self) -> None:
        if not self._primary:
            return
        try:
            self.flush()
        finally:
            self._progress.close()
            for board in self._boards:
                board.close()


def _plain(value: float) -> float | None:
    """What JSON can hold of a number."""
    return value if math.isfinite(value) else None


def _speed(values: Mapping[str, float]) -> str:
    """The speed of an interval in a few words, to follow the loss."""
    text = ""
    if "step_seconds" in values:
        text += f", {1e3 * values['step_seconds']:.3g} ms a step"
        waiting = values["data_wait_seconds"] / values["step_seconds"]
        text += f", {waiting:.0%} waiting for data" if waiting >= 0.01 else ""
    if "share_of_peak" in values:
        text += f", {values['share_of_peak']:.0%} of peak"
    return text
