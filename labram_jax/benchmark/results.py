"""Scores of a benchmark's runs: by seed and fold, of all folds together, and held against what others report."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from labram_jax.benchmark.running import Company, Cost
from labram_jax.checkpoints.ledger import Overlap
from labram_jax.data.corpus import Corpus
from labram_jax.evaluation.bootstrap import intervals
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.protocol import Protocol, Published, named, withheld
from labram_jax.tables import Interval, Spread, over_seeds

LEVEL = 0.05
Values = Mapping[str, float]


@dataclass(frozen=True)
class Scored:
    """Scores of one mode, or of what stands beside.

    Attributes:
        pooled: by seed, those of the predictions of all folds together.
        folds: by seed and fold.
        intervals: of the pooled scores of the first seed, over resamples of its test subjects.
    """

    pooled: Mapping[int, Values]
    folds: Mapping[int, Mapping[str, Values]]
    intervals: Mapping[str, Interval] = field(default_factory=dict)

    def over_seeds(self) -> dict[str, Spread | float]:
        """Mean and standard deviation of the pooled scores; plain values of a single seed."""
        return over_seeds(list(self.pooled.values()))

    def over_folds(self) -> dict[str, Spread | float]:
        """Mean of each metric over the folds that define it; of that, mean and standard deviation over seeds."""
        return over_seeds([_means(own.values()) for own in self.folds.values()])

    def of_fold(self, fold: str) -> dict[str, float]:
        """Mean of each metric of a fold over the seeds."""
        return _means(own[fold] for own in self.folds.values())


@dataclass(frozen=True)
class Comparison:
    """A mode's score beside a published one.

    Attributes:
        inside: our mean lies within their mean ± standard deviation.
        p: of Welch's t test, from both means, standard deviations and numbers of seeds; None where there is none.
    """

    mode: str
    published: str
    metric: str
    ours: Spread | float
    theirs: Spread
    inside: bool
    p: float | None


@dataclass(frozen=True)
class Results:
    """All that a benchmark found.

    Attributes:
        size: published size of the model, or None.
        missing: subjects of the protocol whom the corpus lacks.
        all_windows: how many windows it has in all splits.
        changed: hyperparameters that are not the protocol's, by dotted names.
        company: whose windows each fold has.
        modes, beside: scores of the modes, and of baseline and chance (under seed 0).
        windows: how many test windows each fold has.
        costs: of every run, by mode.
        seen: how much of the test windows the encoders saw from which runs start; None where they start from scratch.
    """

    protocol: Protocol
    corpus: Corpus
    checkpoint: str
    size: str | None
    missing: Sequence[str]
    all_windows: int
    changed: Mapping[str, object]
    notes: Sequence[str]
    company: Mapping[str, Company]
    modes: Mapping[str, Scored]
    beside: Mapping[str, Scored]
    windows: Mapping[str, int]
    costs: Mapping[str, Sequence[Cost]]
    seen: Overlap | None

    @property
    def published(self) -> tuple[Published, ...]:
        """What is reported of models of this size, or of all where none is of it, and of the whole of this corpus."""
        of_size = tuple(one for one in self.protocol.published if one.size == self.size) or self.protocol.published
        return tuple(one for one in of_size if not self.missing and one.is_of(self.all_windows))

    def withheld(self) -> list[str]:
        """Why something published does not stand beside the scores."""
        if self.missing:
            of = f"{len(self.missing)} of the protocol's {len(self.protocol.split.subjects)} subjects"
            shown = ", so that published values are not shown" if self.protocol.published else ""
            return [f"{of} are not in this corpus{shown}: {named(self.missing)}"]
        return withheld(self.protocol.published, self.all_windows)

    def compared(self) -> list[Comparison]:
        """Every mode beside everything published, metric by metric."""
        return [
            compare(mode, one.model, metric, found[metric], theirs)
            for mode, found in ((mode, scored.over_seeds()) for mode, scored in self.modes.items())
            for one in self.published
            for metric, theirs in one.scores.items()
            if metric in found
        ]


def scored(tables: Mapping[int, Mapping[str, PredictionTable]]) -> Scored:
    """Scores predictions by seed and fold."""
    pooled = {seed: _pooled(own.values()) for seed, own in tables.items()}
    return Scored(
        {seed: table.scores().values for seed, table in pooled.items()},
        {seed: {fold: table.labelled().scores().values for fold, table in own.items()} for seed, own in tables.items()},
        intervals(next(iter(pooled.values())), seed=0),
    )


def scored_fold_by_fold(tables: Mapping[str, PredictionTable]) -> Scored:
    """Scores of what cannot be pooled: chance differs from fold to fold by what trains there, which says who tests."""
    folds = {fold: table.labelled().scores().values for fold, table in tables.items()}
    return Scored({0: _means(folds.values())}, {0: folds})


def compare(mode: str, published: str, metric: str, ours: Spread | float, theirs: Spread) -> Comparison:
    """Holds a score against a published one, whose standard deviation counts as that of a sample."""
    mean = ours.mean if isinstance(ours, Spread) else ours
    p = None
    if isinstance(ours, Spread) and max(ours.std, theirs.std) > 0:
        test = stats.ttest_ind_from_stats(
            ours.mean, ours.std, ours.seeds, theirs.mean, theirs.std, theirs.seeds, equal_var=False
        )
        p = float(test.pvalue)
    return Comparison(mode, published, metric, ours, theirs, abs(mean - theirs.mean) <= theirs.std, p)


def _pooled(tables: Iterable[PredictionTable]) -> PredictionTable:
    tables = [table.labelled() for table in tables]
    return PredictionTable(pd.concat([table.frame for table in tables], ignore_index=True), tables[0].task)


def _means(scores: Iterable[Values]) -> dict[str, float]:
    scores = list(scores)
    names = dict.fromkeys(name for own in scores for name in own)
    return {name: float(np.mean([own[name] for own in scores if name in own])) for name in names}
