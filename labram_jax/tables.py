"""Tables of scores: aligned text for a terminal, Markdown for a model's card, means over seeds."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

METRIC_NAMES = {
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "auroc_ovr": "AUROC, one against the rest",
    "auc_pr": "AUC-PR",
    "accuracy": "accuracy",
    "cohen_kappa": "Cohen's kappa",
    "weighted_f1": "weighted F1",
    "pearson_r": "Pearson's r",
    "r2": "R²",
    "rmse": "RMSE",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "cross_entropy": "cross-entropy",
    "amplitude_loss": "amplitude loss",
    "phase_loss": "phase loss",
    "log_amplitude_loss": "log amplitude loss",
    "commitment_loss": "commitment loss",
    "codes_used": "share of codes in use",
    "learning_rate": "learning rate",
}


@dataclass(frozen=True)
class Spread:
    """A score's mean and standard deviation over seeds."""

    mean: float
    std: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.4f} ± {self.std:.4f}"


@dataclass(frozen=True)
class Interval:
    """Between which values a score lies, at the level that whoever shows it says."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


def over_seeds(runs: Sequence[Mapping[str, float]]) -> dict[str, Spread | float]:
    """Returns the mean and the sample standard deviation (n - 1) of every metric that all runs have.

    With a single run there is no spread, and its plain values come back.
    """
    if len(runs) == 1:
        return dict(runs[0])
    shared = [name for name in runs[0] if all(name in run for run in runs)]
    columns = {name: np.array([run[name] for run in runs]) for name in shared}
    return {name: Spread(float(c.mean()), float(c.std(ddof=1)), len(runs)) for name, c in columns.items()}


def metric_name(name: str) -> str:
    """Returns a metric's name as people write it."""
    return METRIC_NAMES.get(name, name.replace("_", " "))


def cell(value: object) -> str:
    """Writes one value: numbers with the digits that matter, an absent one as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool | str | Spread):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        small = value != 0 and not 1e-3 <= abs(value) < 1e5
        return f"{value:.3g}" if small else f"{value:.4f}"
    return str(value)


def score_rows(columns: Mapping[str, Mapping[str, object]]) -> tuple[list[str], list[list[object]]]:
    """Returns headers and rows of a table with a metric per row and a model, baseline or paper per column."""
    metrics = list(dict.fromkeys(metric for scores in columns.values() for metric in scores))
    rows = [[metric_name(metric), *(scores.get(metric) for scores in columns.values())] for metric in metrics]
    return ["metric", *columns], rows


def left_aligned(columns: int, rows: Sequence[Sequence[object]]) -> list[bool]:
    """Returns of each column whether it holds text alone."""
    return [all(isinstance(row[i], str) for row in rows) for i in range(columns)]


def text_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns an aligned plain-text table; columns that hold only text are left-aligned, others right-aligned."""
    cells = [[cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    left = left_aligned(len(headers), rows)

    def line(values: Sequence[str]) -> str:
        aligned = (
            value.ljust(width) if to_left else value.rjust(width)
            for value, width, to_left in zip(values, widths, left, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def as_markdown(text: str) -> str:
    """Returns the Markdown that shows `text` as it is, in one line: names in it make no mark-up and no HTML."""
    return re.sub(r"[\\`*_\[\]|~#$]", r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Returns a Markdown table with numbers aligned to the right."""
    left = left_aligned(len(headers), rows)

    def line(values: Sequence[str]) -> str:
        return "| " + " | ".join(map(as_markdown, values)) + " |"

    rule = "|" + "|".join("---" if to_left else "---:" for to_left in left) + "|"
    return "\n".join([line(headers), rule, *(line([cell(value) for value in row]) for row in rows)])
