"""Who goes into which split: whole subjects, or stretches of time; seeded, and never one window in two splits."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.plan import SPLITS, Span
from labram_jax.errors import InputError

Fractions = tuple[float, float, float]


def chosen_split(options: PrepareOptions, corpus: str, default: str, offered: Sequence[str]) -> str:
    """Returns how `corpus` is to be split: what the user asked for if the corpus offers it, else `default`."""
    choice = options.split_by or default
    if choice not in offered:
        raise InputError(f"{corpus} cannot be split by {choice!r}; choose one of {', '.join(offered)}.")
    return choice


def split_subjects(profiles: Mapping[str, Hashable], fractions: Fractions, seed: int) -> dict[str, str]:
    """Gives every subject one split; subjects of equal profile (their labels) are spread evenly over the splits.

    The outcome depends on the subjects' names, their profiles, `fractions` and `seed` alone, not on their order.

    Raises:
      InputError: there are fewer subjects than splits with a share.
    """
    counts = _counts(len(profiles), fractions)
    peers = defaultdict(list)
    for subject in sorted(profiles):
        peers[profiles[subject]].append(subject)
    generator = np.random.default_rng(seed)
    places = []
    for group in sorted(peers.values()):
        # Each group fills the interval 0..1 evenly and at random, so one cut of the interval splits every group alike.
        for rank, index in enumerate(generator.permutation(len(group))):
            places.append(((rank + generator.random()) / len(group), group[index]))
    names = [name for name, count in zip(SPLITS, counts, strict=True) for _ in range(count)]
    return {subject: name for (_, subject), name in zip(sorted(places), names, strict=True)}


def cut_in_time(
    start_seconds: float,
    stop_seconds: float,
    fractions: Fractions,
    label: int | tuple[float, ...] | None = None,
) -> tuple[Span, ...]:
    """Cuts a stretch (seconds) into its train, validation and test parts, in this order of time."""
    edges = start_seconds + (stop_seconds - start_seconds) * np.cumsum((0.0, *fractions))
    edges[-1] = stop_seconds
    return tuple(
        Span(float(begin), float(end), split, label)
        for split, share, begin, end in zip(SPLITS, fractions, edges[:-1], edges[1:], strict=True)
        if share > 0
    )


def split_at(seconds: float, length_seconds: float, fractions: Fractions) -> str:
    """Returns the split in which a moment of a recording falls when the recording is cut in time."""
    edges = length_seconds * np.cumsum(fractions)
    wanted = [index for index, share in enumerate(fractions) if share > 0]
    return SPLITS[next((index for index in wanted if seconds < edges[index]), wanted[-1])]


def _counts(subjects: int, fractions: Fractions) -> list[int]:
    """Shares out whole subjects by largest remainder, at least one to every split that has a share."""
    wanted = [index for index, share in enumerate(fractions) if share > 0]
    if subjects < len(wanted):
        raise InputError(
            f"{subjects} subject(s) cannot fill {len(wanted)} splits; split by time, give fractions with zeros, "
            "or take every recording for training (none)."
        )
    exact = [subjects * share for share in fractions]
    counts = [max(math.floor(share + 1e-9), int(index in wanted)) for index, share in enumerate(exact)]
    while sum(counts) < subjects:
        counts[max(wanted, key=lambda index: exact[index] - counts[index])] += 1
    while sum(counts) > subjects:
        counts[max(wanted, key=lambda index: (counts[index] > 1, counts[index] - exact[index]))] -= 1
    return counts
