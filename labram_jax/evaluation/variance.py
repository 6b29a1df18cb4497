"""How much of the variance of features goes with who was recorded, with the label, and with the recording.

Sums of squares of nested linear models, as shares of the total (eta squared), summed over features that are centred and
of one size. They grow with the number of groups whatever these are, so each stands beside the mean of what it is where
its factor alone is shuffled.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array

SUBJECT, LABEL, RECORDING, WINDOW = FACTORS = ("subject", "label", "recording", "window")
SHUFFLES = 20
# Beside the seed, this keeps these random numbers apart from others.
_SHUFFLED = 19
_TINY = 1e-9


class Factors(NamedTuple):
    """What windows belong to.

    Attributes:
        subjects, recordings: their numbers from 0 on; a recording is of one subject.
        labels: 1 in the column of the window's class and 0 in others, or targets.
        starts: seconds, by which windows of a recording follow each other.
    """

    subjects: Int[np.ndarray, " N"]
    recordings: Int[np.ndarray, " N"]
    labels: Float[np.ndarray, "N columns"]
    starts: Float[np.ndarray, " N"]

    @property
    def crossed(self) -> bool:
        """Whether any subject has windows of unlike labels; else labels lie between subjects."""
        return self.varies_in(self.subjects)

    def varies_in(self, groups: Int[np.ndarray, " N"]) -> bool:
        """Whether labels differ in any of some groups of windows."""
        return bool((np.abs(self.labels - means_of(self.labels, groups)[groups]) > _TINY).any())

    @property
    def owners(self) -> Int[np.ndarray, " recordings"]:
        """The subject of each recording."""
        return self.subjects[np.unique(self.recordings, return_index=True)[1]]


def means_of(values: Float[np.ndarray, "N F"], groups: Int[np.ndarray, " N"]) -> Float[np.ndarray, "groups F"]:
    """The mean of each group, all of which (0, 1, ...) have a window."""
    places = np.arange(len(groups))
    members = csr_array((np.ones(len(groups)), (groups, places)), shape=(groups.max() + 1, len(groups)))
    return members @ values / np.bincount(groups)[:, None]


def slopes(
    features: Float[np.ndarray, "N F"], labels: Float[np.ndarray, "N columns"], groups: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "columns F"]:
    """How features move with labels inside groups, the same in all of them, by least squares.

    0 for what labels do not vary inside any group.
    """
    within = labels - means_of(labels, groups)[groups]
    within[np.abs(within) < _TINY] = 0
    return np.linalg.pinv(within.T @ within, rcond=_TINY, hermitian=True) @ (within.T @ features)


def shares(features: Float[np.ndarray, "N F"], factors: Factors, crossed: bool | None = None) -> dict[str, float]:
    """Shares of the variance of centred features by factor, in order, which sum to 1.

    Where subjects have windows of several labels: subject; label, the shift common to all subjects, within them;
    recording, in what else recordings of a subject differ; and what differs from window to window. Where labels lie
    between subjects, label comes first, and then subjects of one label. Linear for targets of a regression. `crossed`
    says which, if not the labels themselves.
    """
    subject, label = _between(features, factors.subjects), _moved(features, factors, np.zeros_like(factors.subjects))
    both = subject + _moved(features, factors, factors.subjects)
    all_three = _between(features, factors.recordings) + _moved(features, factors, factors.recordings)
    if factors.crossed if crossed is None else crossed:
        label = both - subject
    else:
        subject = both - label
    total = _total(features)
    sums = (subject, label, all_three - both, total - all_three)
    return {name: float(np.clip(own / (total or 1), 0, 1)) for name, own in zip(FACTORS, sums, strict=True)}


def label_alone(features: Float[np.ndarray, "N F"], factors: Factors) -> float:
    """The share of the variance that labels explain by themselves, whoever was recorded."""
    return _moved(features, factors, np.zeros_like(factors.subjects)) / (_total(features) or 1)


def shuffled_shares(features: Float[np.ndarray, "N F"], factors: Factors, seed: int) -> dict[str, float]:
    """The mean share of each factor over 20 shuffles of it alone, drawn from the seed.

    Subjects are shuffled by dealing out whole recordings anew; labels over what has one (recordings of a subject, or
    subjects), or by turning each recording's in time where they vary in it; recordings by dealing out the windows of a
    subject. Where every subject has one recording, the first and the last would change nothing, and are not there.
    """
    ways = {LABEL: _relabelled}
    if len(factors.owners) > len(np.unique(factors.owners)):
        ways = {SUBJECT: _dealt, LABEL: _relabelled, RECORDING: _mixed}
    crossed = factors.crossed
    return {
        name: float(np.mean([shares(features, own, crossed)[name] for own in _shuffles(way, factors, seed)]))
        for name, way in ways.items()
    }


def _shuffles(way: Callable[[Factors, np.random.Generator], Factors], factors: Factors, seed: int) -> Iterator[Factors]:
    generator = np.random.default_rng((seed, _SHUFFLED))
    return (way(factors, generator) for _ in range(SHUFFLES))


def _dealt(factors: Factors, generator: np.random.Generator) -> Factors:
    return factors._replace(subjects=generator.permutation(factors.owners)[factors.recordings])


def _mixed(factors: Factors, generator: np.random.Generator) -> Factors:
    return factors._replace(recordings=factors.recordings[_within(factors.subjects, generator)])


def _relabelled(factors: Factors, generator: np.random.Generator) -> Factors:
    labels, owners = factors.labels, factors.owners
    if factors.varies_in(factors.recordings):
        turned = labels.copy()
        for recording in range(len(owners)):
            own = np.flatnonzero(factors.recordings == recording)
            own = own[np.argsort(factors.starts[own], kind="stable")]
            turned[own] = np.roll(labels[own], generator.integers(len(own)), axis=0)
        return factors._replace(labels=turned)
    if factors.crossed:
        of_recordings = means_of(labels, factors.recordings)[_within(owners, generator)]
        return factors._replace(labels=of_recordings[factors.recordings])
    return factors._replace(labels=generator.permutation(means_of(labels, factors.subjects))[factors.subjects])


def _within(groups: Int[np.ndarray, " N"], generator: np.random.Generator) -> Int[np.ndarray, " N"]:
    """For each place another one of its group, every place once."""
    found = np.empty(len(groups), np.int64)
    found[np.argsort(groups, kind="stable")] = np.lexsort((generator.random(len(groups)), groups))
    return found


def _total(features: Float[np.ndarray, "N F"]) -> float:
    """The sum of squares; 0 for features that never change, of which all shares are 0."""
    return float(np.square(features).sum())


def _between(features: Float[np.ndarray, "N F"], groups: Int[np.ndarray, " N"]) -> float:
    """The sum of squares between groups."""
    return float(np.bincount(groups) @ np.square(means_of(features, groups)).sum(axis=1))


def _moved(features: Float[np.ndarray, "N F"], factors: Factors, groups: Int[np.ndarray, " N"]) -> float:
    """The sum of squares that labels explain inside groups."""
    within = factors.labels - means_of(factors.labels, groups)[groups]
    return float((slopes(features, factors.labels, groups) * (within.T @ features)).sum())
