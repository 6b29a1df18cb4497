"""Logs by steps, such as metrics.jsonl with a line of JSON for every logged interval and evaluation.

An object store takes about one change of an object a second, and may write the whole of it anew for each. So lines are
written some at a time, and a file that is full gets a number: metrics-0001.jsonl, metrics-0002.jsonl, ..., and
metrics.jsonl at last, which holds the newest lines.
"""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from labram_jax.checkpoints.files import METRICS
from labram_jax.jsonfile import write_text

FLUSH_SECONDS = 5.0
FULL_BYTES = 2**20


class StepLog:
    """Appends lines, which are in the file at the latest after the next `flush`.

    Opening it cuts what training will write again: lines of steps after `start`, and scores on the test split, which
    come once at the end.
    """

    def __init__(self, path: Path, start: int):
        self._path = path
        self._lines: list[str] = []
        self._flushed = -FLUSH_SECONDS  # so that the first line is seen at once
        # From the newest on: whatever ends this half-way leaves the beginning of the log.
        for file in reversed(_files(path)):
            _cut_after(file, path.name, start)

    def append(self, line: Mapping) -> None:
        self._lines.append(json.dumps(line) + "\n")
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was appended."""
        lines, self._lines = self._lines, []  # if the disk is full, they are not tried again
        if not lines:
            return
        if self._path.is_file() and self._path.stat().st_size >= FULL_BYTES:
            self._path.rename(_numbered(self._path, len(_files(self._path))))
        with self._path.open("a") as file:
            file.write("".join(lines))
        self._flushed = time.monotonic()


def read_metrics(run: str | os.PathLike) -> list[dict]:
    """The lines of a run's metrics.jsonl that have a split, see `read_steps`."""
    return [line for line in read_steps(Path(run) / METRICS) if isinstance(line.get("split"), str)]


def read_steps(path: Path) -> list[dict]:
    """The lines of a log that have a step, oldest first; one cut short by a kill, or damaged, is left out."""
    return [line for file in _files(path) for line in _lines_of(file)]


def _files(newest: Path) -> list[Path]:
    """Those of a log, oldest first."""
    return [*sorted(newest.parent.glob(f"{newest.stem}-*{newest.suffix}")), *([newest] if newest.is_file() else [])]


def _numbered(path: Path, number: int) -> Path:
    return path.with_stem(f"{path.stem}-{number:04d}")


def _lines_of(path: Path) -> list[dict]:
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(ValueError, RecursionError):
            line = json.loads(text)
            if isinstance(line, dict) and type(line.get("step")) is int:
                lines.append(line)
    return lines


def _cut_after(path: Path, newest: str, step: int) -> None:
    """Rewrites a file of the log without what training will write again; a numbered one goes if nothing is left."""
    kept = [line for line in _lines_of(path) if line["step"] <= step and line.get("split") != "test"]
    text = "".join(json.dumps(line) + "\n" for line in kept)
    if text.encode() == path.read_bytes():
        return
    if not text and path.name != newest:
        path.unlink()
        return
    write_text(path, text)
