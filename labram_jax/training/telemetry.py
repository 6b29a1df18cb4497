"""What a run tells: metrics.jsonl for programs, progress for people, TensorBoard on request."""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

import jax

from labram_jax.checkpoints.files import METRICS
from labram_jax.errors import InputError
from labram_jax.progress import Progress


class Interval:
    """Means of the metrics since the last logged line, and the speed in patches per second."""

    def __init__(self):
        self._clock: float | None = None  # starts at the first finished step, which also compiled
        self._restart(None)

    def _restart(self, clock: float | None) -> None:
        self._sums: dict[str, float] = {}
        self._steps, self._patches, self._clock = 0, 0.0, clock

    def add(self, metrics: Mapping[str, float]) -> None:
        """Counts one step; "patches" is summed for the speed, everything else is averaged."""
        metrics = dict(metrics)
        patches = float(metrics.pop("patches", 0.0))
        if self._clock is None:
            self._clock = time.monotonic()
        else:
            self._patches += patches
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._steps += 1

    def close(self) -> dict[str, float]:
        """The means, and a new interval from now on."""
        now = time.monotonic()
        means = {name: total / self._steps for name, total in self._sums.items()}
        if self._patches and now > self._clock:
            means["patches_per_second"] = self._patches / (now - self._clock)
        self._restart(now)
        return means

    def pause(self) -> None:
        """Leaves out of the speed what happened since the interval was closed: an evaluation, a checkpoint."""
        if self._clock is not None and not self._steps:
            self._clock = time.monotonic()

    def __len__(self) -> int:
        return self._steps


class Telemetry:
    """The one writer of a run's log; on every process but the first all methods do nothing.

    Args:
        run: the run's directory.
        name: the stage's, beside the progress.
        start: step that training starts from; later lines of an earlier attempt are cut.
        total: steps of the whole training.
        steps_per_epoch: batches in one epoch.
        tensorboard: also write TensorBoard events to run/tensorboard; needs tensorboardX.
    """

    def __init__(
        self, run: str | os.PathLike, name: str, start: int, total: int, steps_per_epoch: int, tensorboard: bool = False
    ):
        self._primary = jax.process_index() == 0
        self._steps_per_epoch = steps_per_epoch
        self._board = None
        writer = _board_writer() if tensorboard else None
        if not self._primary:
            return
        run = Path(run)
        run.mkdir(parents=True, exist_ok=True)
        self._path = run / METRICS
        self._path.touch()
        self._begin = time.monotonic() - cut_after(self._path, start)
        if writer is not None:
            self._board = writer(str(run / "tensorboard"), purge_step=start + 1)
        self._progress = Progress(name, total, start)

    def __enter__(self) -> "Telemetry":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def advance(self, text: str = "") -> None:
        """One more step is done."""
        if self._primary:
            self._progress.update(1, text)

    def say(self, message: str) -> None:
        if self._primary:
            self._progress.write(message)

    def log(self, step: int, split: str, metrics: Mapping[str, float]) -> None:
        """Appends a line for `split` ("train", "validation" or "test"); a value that is not finite becomes null."""
        if not self._primary:
            return
        values = {name: _finite(value) for name, value in metrics.items()}
        line = {
            "step": step,
            "epoch": round(step / self._steps_per_epoch, 4),
            "split": split,
            **values,
            "seconds": round(time.monotonic() - self._begin, 3),
        }
        # Opened for each line: a mounted bucket keeps and shows what was written only when the file is closed.
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        if self._primary:
            self._progress.close()
        if self._board is not None:
            self._board.close()


def read_metrics(run: str | os.PathLike) -> list[dict]:
    """The lines of a run's metrics.jsonl, oldest first; a last line cut short by a kill is left out."""
    path = Path(run) / METRICS
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines


def cut_after(path: Path, step: int) -> float:
    """Drops the lines that training will write again; returns the seconds that the kept ones took.

    These are lines of later steps, and scores on the test split, which come once at the end.
    """
    if not path.is_file():
        return 0.0
    kept = [line for line in read_metrics(path.parent) if line["step"] <= step and line["split"] != "test"]
    part = path.with_name(path.name + ".part")
    part.write_text("".join(json.dumps(line) + "\n" for line in kept))
    part.replace(path)
    return max((line["seconds"] for line in kept), default=0.0)


def _finite(value: float) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None


def _board_writer() -> type:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InputError(
            "TensorBoard was asked for, but tensorboardX is not installed: pip install 'labram-jax[tensorboard]'."
        ) from error
    return SummaryWriter
