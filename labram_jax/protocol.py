"""What a benchmark asks for: its corpus and split, windows, metrics, hyperparameters, and what others report of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labram_jax.config import SIZES, FinetuningStageConfig
from labram_jax.errors import InputError
from labram_jax.tables import Spread

# Of a corpus with so many more or less windows than the published one something is missing.
_TOLERANCE = 0.01


@dataclass(frozen=True)
class Fold:
    """One way to split the corpus: its name, and what of `DataConfig` makes it."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OwnSplits:
    """The splits with which the corpus was prepared."""

    subjects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "as the corpus was prepared"

    def folds(self, there: Sequence[str]) -> list[Fold]:
        return [Fold("split")]


@dataclass(frozen=True)
class SubjectLists:
    """Subjects by name, as the corpus has them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.train)} / {len(self.validation)} / {len(self.test)} subjects by name"

    @property
    def subjects(self) -> tuple[str, ...]:
        return self.train + self.validation + self.test

    def folds(self, there: Sequence[str]) -> list[Fold]:
        """The one fold, of those who are `there`; raises InputError where that leaves nobody to train or to test."""
        strangers = sorted({*there} - {*self.subjects})
        if strangers:
            raise InputError(f"The protocol does not know {named(strangers)}: prepare the corpus without them.")
        parts = (self.train, self.validation, self.test)
        train, validation, test = (tuple(own for own in part if own in there) for part in parts)
        for what, own, wanted in (("train", train, self.train), ("test", test, self.test)):
            if not own:
                raise InputError(f"The corpus has none of the subjects that {what} by the protocol: {named(wanted)}.")
        return [Fold("split", {"validation_subjects": validation, "test_subjects": test})]


@dataclass(frozen=True)
class SubjectFolds:
    """Every subject tests once: those there, sorted by name, are dealt into `count` folds, or one each (None).

    The `validating` folds after the one that tests validate, all others train. `subjects` are all that there should be.
    """

    count: int | None
    validating: int = 1
    subjects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "leave one subject out" if self.count is None else f"{self.count} folds by subject"

    def folds(self, there: Sequence[str]) -> list[Fold]:
        there = sorted(there)
        count = self.count or len(there)
        if not count >= self.validating + 2 or len(there) < count:
            raise InputError(
                f"{len(there)} subjects are too few for {self} with {self.validating} to validate: prepare more."
            )
        dealt = [there[number::count] for number in range(count)]
        folds = []
        for number, tests in enumerate(dealt):
            following = ((number + 1 + place) % count for place in range(self.validating))
            validates = sorted(subject for own in following for subject in dealt[own])
            data = {"validation_subjects": tuple(validates), "test_subjects": tuple(tests)}
            folds.append(Fold(f"fold-{number:0{len(str(count - 1))}}", data))
        return folds


@dataclass(frozen=True)
class TimeFolds:
    """Every stretch of each recording tests once, see `DataConfig.time_folds`: within subjects."""

    count: int
    subjects: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.count} folds in time, within subjects"

    def folds(self, there: Sequence[str]) -> list[Fold]:
        return [Fold(f"fold-{number}", {"time_folds": self.count, "test_fold": number}) for number in range(self.count)]


@dataclass(frozen=True)
class Published:
    """What others report: mean and standard deviation by metric, and each seed's value where it is known.

    `size` is that of the model (`config.SIZES`), `windows` how many their corpus has in all splits.
    """

    model: str
    size: str
    scores: Mapping[str, Spread]
    source: str
    windows: int | None = None
    by_seed: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def is_of(self, windows: int) -> bool:
        """Whether it can be of a corpus with so many windows."""
        return self.windows is None or abs(windows - self.windows) <= _TOLERANCE * self.windows


def withheld(published: Sequence[Published], windows: int) -> list[str]:
    """Why some of what is published does not stand beside scores on a corpus with so many windows."""
    other = dict.fromkeys(one.windows for one in published if not one.is_of(windows))
    return [
        f"what is published of {count:,} windows is not shown, since this corpus has {windows:,}" for count in other
    ]


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A benchmark, as a file in `configs/benchmarks` says it.

    Attributes:
        title: what is told apart or predicted, of whom.
        corpus: name of the corpus, as `prepare` gives it.
        prepare: the command that prepares it.
        classes: their names in the order of labels; empty is a regression.
        split: who trains, validates and tests.
        metrics: those that are reported, in their order; `select_by` of the hyperparameters chooses the checkpoint.
        finetuning: windows and hyperparameters, by size of the model; "base" is among them.
        published: what others report.
        differences: what is not as others did it, and what flatters.
    """

    name: str
    title: str
    corpus: str
    prepare: str
    split: OwnSplits | SubjectLists | SubjectFolds | TimeFolds
    metrics: tuple[str, ...]
    finetuning: Mapping[str, FinetuningStageConfig]
    classes: tuple[str, ...] = ()
    published: tuple[Published, ...] = ()
    differences: tuple[str, ...] = ()

    def __post_init__(self):
        if "base" not in self.finetuning or not self.finetuning.keys() <= SIZES.keys():
            raise InputError(
                f"The protocol {self.name} has hyperparameters for {', '.join(self.finetuning) or 'no size'}: give "
                f"those of base, and of no others than {', '.join(SIZES)}."
            )

    def missing(self, there: Sequence[str]) -> list[str]:
        """The protocol's subjects who are not there."""
        return [subject for subject in self.split.subjects if subject not in there]


def named(names: Sequence[str], most: int = 12) -> str:
    """Some names for a sentence, the first ones where there are many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
