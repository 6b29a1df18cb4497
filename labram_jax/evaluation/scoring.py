"""Scores of tables of predictions: per window, per recording and per subject, each with its interval."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from labram_jax.errors import InputError
from labram_jax.evaluation.bootstrap import LEVEL, RESAMPLES, intervals
from labram_jax.evaluation.predictions import UNITS, PredictionTable
from labram_jax.metrics import CALIBRATION_BINS
from labram_jax.tables import Interval, cell

CALIBRATION = f"calibration error: over {CALIBRATION_BINS} bins of equal width of the likeliest class' probability"


@dataclass(frozen=True)
class Level:
    """Scores of some columns ("fine-tuned", "band powers", ...), taken over windows, recordings or subjects.

    Attributes:
        unit: "window", "recording" or "subject"; outputs of the last two are the means of their windows'.
        units: how many there are.
        columns: values by metric.
        intervals: likewise, where there are any.
        undefined: the reason for each metric of the first column that has no value.
    """

    unit: str
    units: int
    columns: Mapping[str, Mapping[str, object]]
    intervals: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> dict[str, dict[str, object]]:
        """The columns, with the interval behind each value that has one."""
        return {
            name: {metric: self._shown(name, metric, value) for metric, value in scores.items()}
            for name, scores in self.columns.items()
        }

    def _shown(self, name: str, metric: str, value: object) -> object:
        interval = self.intervals.get(name, {}).get(metric)
        return value if interval is None else f"{cell(value)} {interval}"


def score_levels(tables: Mapping[str, PredictionTable], seed: int) -> tuple[list[Level], list[str]]:
    """Scores tables of the same rows, the first of which is the model's; returns the levels and what there is to say.

    Recordings and subjects are scored where each has one label and they are not just the windows or the recordings
    again. Intervals are over resamples of the subjects, drawn from `seed`. Raises InputError for tables of other rows,
    and where no window has a label.
    """
    own, *others = tables.values()
    if not all(other.stands_on(own) for other in others):
        raise InputError(f"{', '.join(tables)} are not of the same windows: evaluate the run again.")
    windows = {name: table.labelled() for name, table in tables.items()}
    levels, notes = [_level("window", windows, seed)], []
    for unit in UNITS:
        try:
            grouped = {name: table.by(unit) for name, table in windows.items()}
        except InputError as error:
            notes.append(f"no scores per {unit}: {error}")
            continue
        if len(next(iter(grouped.values()))) < levels[-1].units:
            levels.append(_level(unit, grouped, seed))
    subjects = int(own.labelled().subjects.max()) + 1
    drawn = f"from {RESAMPLES:,} resamples of the {subjects} subjects (seed {seed})"
    several = f"in brackets: {LEVEL:.0%} intervals, {drawn}"
    notes.append(several if subjects > 1 else "no intervals: all windows are of one subject")
    return levels, notes if own.task == "regression" else [*notes, CALIBRATION]


def _level(unit: str, tables: Mapping[str, PredictionTable], seed: int) -> Level:
    scores = {name: table.scores() for name, table in tables.items()}
    first = next(iter(tables))
    # What says the same of every window has no interval that would say more.
    varied = [name for name, table in tables.items() if (table.outputs != table.outputs[0]).any()]
    return Level(
        unit,
        len(tables[first]),
        {name: own.values for name, own in scores.items()},
        {name: intervals(tables[name], seed) for name in varied},
        scores[first].undefined,
    )
