"""What an audit of features found, as tables, as text, and as plain data that stay in a run."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from labram_jax.errors import DamageError, InputError
from labram_jax.evaluation.variance import FACTORS, SHUFFLES
from labram_jax.jsonfile import built, read_json, write_json
from labram_jax.tables import Interval, cell, metric_name, text_table

AS_THEY_ARE, REMOVED, OWN_MEANS = VARIANTS = (
    "as they are",
    "without subjects' directions",
    "less subjects' own means (transductive)",
)
CHANCE = "chance"
_ADVICE = "delete it and audit the run again"


@dataclass(frozen=True)
class Share:
    """A factor's share of the variance, and the mean of what it is where the factor is shuffled, if it can be."""

    share: float
    shuffled: float | None = None

    def __post_init__(self):
        _require(0 <= self.share <= 1 and 0 <= (self.shuffled or 0) <= 1, f"a share of {self.share} ({self.shuffled})")

    def __str__(self) -> str:
        return f"{self.share:.1%}" + ("" if self.shuffled is None else f" ({self.shuffled:.1%})")


@dataclass(frozen=True)
class Found:
    """What was found of one kind of features ("mean", "mean + amplitude", "band powers").

    Attributes:
        variance: shares of the variance by split and factor, which sum to 1 in each split.
        label_alone: what labels explain by themselves, by split.
        directions: how many of the `dimensions` were taken out, which hold the share `held` of the variance between
            training subjects.
        told_apart: how often training subjects are told apart, on later windows; None where that cannot be tried.
        scores: of a linear probe on test windows, by variant and metric; `intervals` likewise, over subjects.
    """

    variance: dict[str, dict[str, Share]]
    label_alone: dict[str, float]
    directions: int
    dimensions: int
    held: float
    told_apart: float | None
    scores: dict[str, dict[str, float]]
    intervals: dict[str, dict[str, Interval]]

    def __post_init__(self):
        _require(all(tuple(own) == FACTORS for own in self.variance.values()), "shares of unknown factors")
        _require(self.variance.keys() == self.label_alone.keys(), "shares of unlike splits")

    def shown(self, variant: str, metric: str) -> str:
        """A score with its interval, if there is one."""
        value, interval = (own.get(variant, {}).get(metric) for own in (self.scores, self.intervals))
        return f"{cell(value)}{'' if interval is None else f' {interval}'}"


class Table(NamedTuple):
    """One table of an audit, under what it shows."""

    caption: str
    headers: list[str]
    rows: list[list[object]]


@dataclass(frozen=True)
class Audit:
    """An audit of a model's features on a labelled corpus; `str` is its tables.

    Attributes:
        title: of which model, on what.
        features: what was found, by kind of features.
        windows: what the windows of each split are whose variance was taken apart; the last one is tested on.
        crossed: whether subjects have windows of several labels.
        subjects: how many of them train.
        chance: scores without any features.
        metrics: those that are shown.
        notes: what else there is to say.
    """

    title: str
    features: dict[str, Found]
    windows: dict[str, str]
    crossed: bool
    subjects: int
    chance: dict[str, float]
    metrics: tuple[str, ...]
    notes: tuple[str, ...]

    def __post_init__(self):
        unlike = [name for name, own in self.features.items() if own.variance.keys() != self.windows.keys()]
        _require(bool(self.windows) and not unlike and self.subjects > 0, "shares of unlike splits")

    def tables(self) -> list[Table]:
        """All that was found, one table after another."""
        return [*self._variance(), *self._scores(), self._whose()]

    def __str__(self) -> str:
        parts = [f"{table.caption}\n{text_table(table.headers, table.rows)}" for table in self.tables()]
        return "\n\n".join([self.title, *parts, "\n".join(self.notes)]).rstrip()

    def _variance(self) -> list[Table]:
        order = "subject, then label" if self.crossed else "label, then subject"
        headers = ["features", *FACTORS, "label alone"]
        return [
            Table(
                f"Shares of the variance of standardised features, {split} ({told}): {order}, then recording, the rest "
                f"from window to window; in brackets where the factor is shuffled ({SHUFFLES} times)",
                headers,
                [
                    [name, *map(str, found.variance[split].values()), f"{found.label_alone[split]:.1%}"]
                    for name, found in self.features.items()
                ],
            )
            for split, told in self.windows.items()
        ]

    def _scores(self) -> list[Table]:
        tested = list(self.windows.values())[-1]
        variants = [name for name in VARIANTS if any(name in found.scores for found in self.features.values())]
        return [
            Table(
                f"{metric_name(metric)} of a linear probe, {tested}",
                ["features", *variants],
                [
                    *([name, *(own.shown(each, metric) for each in variants)] for name, own in self.features.items()),
                    [CHANCE, cell(self.chance.get(metric)), *["-"] * (len(variants) - 1)],
                ],
            )
            for metric in self.metrics
            if variants
        ]

    def _whose(self) -> Table:
        rows: list[list[object]] = [
            [name, own.told_apart, f"{own.directions} of {own.dimensions}", f"{own.held:.1%}"]
            for name, own in self.features.items()
        ]
        return Table(
            f"Whose windows are, of the {self.subjects} training subjects (accuracy on the last third of their "
            f"recordings; chance {1 / self.subjects:.3f}), and their directions that were taken out",
            ["features", "told apart", "directions", "of the variance between subjects"],
            rows,
        )


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InputError(f"An audit cannot hold {what}.")


def leave(path: Path, corpus: str, found: Audit) -> None:
    """Writes an audit on a corpus into a file, beside those on others."""
    kept = read_json(path, _ADVICE) if path.is_file() else {}
    write_json(path, kept | {corpus: dataclasses.asdict(found)})


def read_audits(path: Path) -> Mapping[str, Audit]:
    """The audits in a file, by corpus; none where there is none. Raises DamageError for what `leave` did not write."""
    if not path.is_file():
        return {}
    values = read_json(path, _ADVICE)
    try:
        return {corpus: built(Audit, own, str(path)) for corpus, own in values.items()}
    except (InputError, AttributeError, TypeError) as error:
        raise DamageError(f"{path} is damaged, since it holds something else than audits ({error})", _ADVICE) from error
