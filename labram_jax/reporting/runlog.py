"""What a run directory tells: its configuration, its log, its best checkpoint, its scores."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labram_jax.checkpoints.files import BEST, CONFIG, METRICS, SCORES
from labram_jax.config import AnyStageConfig, kind_of
from labram_jax.configfile import from_dict
from labram_jax.errors import DamageError, InputError
from labram_jax.jsonfile import read_json
from labram_jax.reporting.figures.training import Series
from labram_jax.training.metricslog import read_metrics

_ADVICE = "delete it, or start the training again, which writes it anew"


@dataclass(frozen=True)
class Run:
    """One training run as it lies on disk.

    `lines`: the log, oldest first; `best`: {"step", "metric", "value"} of the best checkpoint, or None; `scores`:
    {split: {column: {metric: value}}} as an evaluation left them, or empty; those of earlier versions are passed over.
    """

    path: Path
    config: AnyStageConfig
    lines: tuple[dict, ...]
    best: dict | None
    scores: dict[str, dict[str, dict[str, float]]]

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Reads a run; raises InputError if the folder is missing, no run, damaged, or has logged nothing yet."""
        path = Path(path)
        if not path.is_dir():
            raise InputError(f"There is no run {path}: give a directory that `labram-jax train` made.")
        if not (path / CONFIG).is_file():
            raise InputError(f"{path} is no run, since it has no {CONFIG}: give a directory of `labram-jax train`.")
        config = from_dict(read_json(path / CONFIG), str(path / CONFIG))
        if not hasattr(config, "loop"):
            raise InputError(f"{path} is a {kind_of(config)} model and no training run: give the run it came from.")
        lines = tuple(line for line in map(_numbers, read_metrics(path)) if "epoch" in line)
        if not lines:
            raise InputError(f"{path / METRICS} has no lines yet: let the run reach its first log, then report again.")
        return cls(path, config, lines, _best(path / BEST), _scores(path / SCORES))

    @property
    def stage(self) -> str:
        """The name of its stage: "tokenizer", "pretraining" or "fine-tuning"."""
        return kind_of(self.config)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were logged, in the order of their first line."""
        return tuple(dict.fromkeys(line["split"] for line in self.lines))

    def series(self, split: str, metric: str) -> Series | None:
        """Steps and values of one metric; None if it was never logged. Values that were not finite are left out."""
        points = [(line["step"], line[metric]) for line in self.lines if _holds(line, split, metric)]
        return tuple(np.array(points, dtype=float).T) if points else None

    def curves(self, metric: str, splits: tuple[str, ...] = ("train", "validation")) -> dict[str, Series]:
        """One metric's series by split, for those that logged it."""
        found = {split: self.series(split, metric) for split in splits}
        return {split: series for split, series in found.items() if series is not None}

    def first(self, split: str) -> dict[str, float]:
        """The first line of a split, or nothing."""
        return next((line for line in self.lines if line["split"] == split), {})

    def last(self, split: str) -> dict[str, float]:
        """The last line of a split, or nothing."""
        return next((line for line in reversed(self.lines) if line["split"] == split), {})

    def at(self, split: str, step: int) -> dict[str, float]:
        """The line of a split at a step, or nothing."""
        return next((line for line in self.lines if line["split"] == split and line["step"] == step), {})


def _numbers(line: dict) -> dict:
    """What of a line of the log can be shown: its split, and the numbers that are finite."""
    return {name: value for name, value in line.items() if name == "split" or _is_finite(value)}


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _best(path: Path) -> dict | None:
    if not path.is_file():
        return None
    best = read_json(path, _ADVICE)
    named = type(best.get("step")) is int and isinstance(best.get("metric"), str)
    if not named or not _is_finite(best.get("value")):
        raise DamageError(f"{path} is damaged, since it names no checkpoint and its score", _ADVICE)
    return best


def _scores(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    if not path.is_file():
        return {}
    advice = "delete it and evaluate the run again"
    scores = read_json(path, advice)
    if not all(isinstance(own, dict) for own in scores.values()):
        raise DamageError(f"{path} is damaged, since it holds something else than scores", advice)
    # Of each split the columns, which earlier versions did not tell apart.
    columns = {
        split: {name: one for name, one in own.items() if isinstance(one, dict)} for split, own in scores.items()
    }
    return {split: {name: _numbers(one) for name, one in own.items()} for split, own in columns.items()}


def _holds(line: dict, split: str, metric: str) -> bool:
    return line["split"] == split and line.get(metric) is not None
