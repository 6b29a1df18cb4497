"""A corpus is a table: one row for each stretch of a recording, with its subject, split and label.

`split_table` is the one function that splits tables: whole subjects, or stretches of time; seeded, and never one second
in two splits.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from labram_jax.data.schema import SPLITS
from labram_jax.data_prep.recipe import Recipe
from labram_jax.errors import InputError

# path        the file (or folder) of the recording, a Path
# part        which recording in the file, where it holds several; else ""
# recording   the recording's name: unique in the corpus, the same on every machine (a relative path without suffix)
# subject     who was recorded, or None where nobody says
# split       "train", "validation" or "test", or None where it is yet to be split
# label       a class index, a tuple of numbers, or None
# start, stop seconds from the recording's start; stop NaN is its end
COLUMNS = ("path", "part", "recording", "subject", "split", "label", "start", "stop")

Fractions = tuple[float, float, float]


class Span(NamedTuple):
    """One row of a table, whose columns `COLUMNS` describes."""

    path: Path
    recording: str
    subject: str | None = None
    split: str | None = None
    label: int | tuple[float, ...] | None = None
    start: float = 0.0
    stop: float = math.nan
    part: str = ""


@dataclass(frozen=True)
class Split:
    """How the rows of a table without a split get one.

    `by`: "subject" sends whole subjects to one split, "time" cuts each row in time (with `events`, a row goes whole to
    where it begins in its recording), "none" takes everything for training, "given" says that every row has one.
    `fractions` are the shares of train, validation and test. `balanced` spreads subjects of the same labels evenly
    over the splits.
    """

    by: str
    fractions: Fractions = (0.8, 0.1, 0.1)
    seed: int = 0
    events: bool = False
    allow_shared_subjects: bool = False
    balanced: bool = True


@dataclass(frozen=True)
class CorpusTable:
    """Everything that the build needs to know of a corpus, before any signal was read.

    `rows` has the columns `COLUMNS`. `unusable` lists what was refused already, as (path, reason). `window_seconds`
    is the window of the corpus' protocol, or None. Raises InputError where two recordings share a name, a recording
    has two subjects, label vectors differ in length, or a split by subject does not know its subjects.
    """

    name: str
    rows: pd.DataFrame
    split: Split
    recipe: Recipe = field(default_factory=Recipe)
    classes: tuple[str, ...] | None = None
    window_seconds: int | None = None
    unusable: tuple[tuple[str, str], ...] = ()
    provenance: str = ""

    def __post_init__(self):
        files = self.rows[["recording", "path", "part"]].drop_duplicates()
        if (twice := files["recording"][files["recording"].duplicated()]).size:
            raise InputError(f"Two recordings are called {twice.iloc[0]!r}: give each its own name.")
        people = self.rows[["recording", "subject"]].drop_duplicates()
        if (twice := people["recording"][people["recording"].duplicated()]).size:
            raise InputError(f"The recording {twice.iloc[0]!r} has two subjects: give it one.")
        if len({len(label) for label in self.rows["label"] if isinstance(label, tuple)}) > 1:
            raise InputError("The label vectors have different lengths: give every span the same number of values.")
        _require_subjects(self.rows, self.split)


def rows_of(spans: Iterable[Span]) -> pd.DataFrame:
    """Returns the table of some spans, in their order; what is None stays None."""
    rows = pd.DataFrame(list(spans), columns=Span._fields, dtype=object)
    return rows.astype({"start": np.float64, "stop": np.float64})[list(COLUMNS)]


def split_table(rows: pd.DataFrame, split: Split, seconds: Mapping[str, float]) -> pd.DataFrame:
    """Returns the rows with a split and a subject each; rows that have a split keep it.

    `seconds` is the length of each recording by its name; it is needed by time alone, where rows of a recording without
    a length are left out. A recording of which nobody says the subject is its own, unless the split is by subject.

    Raises:
      InputError: a split by subject does not know its subjects, or has too few of them; a subject would be in two
        splits (unless by time, or where that is allowed); two splits share seconds of a recording.
    """
    _require_subjects(rows, split)
    rows = rows.copy()
    unsplit = rows["split"].isna()
    if split.by == "given" and unsplit.any():
        raise InputError(f"The recording {rows['recording'][unsplit].iloc[0]!r} has no split: give every row one.")
    if split.by == "none":
        rows.loc[unsplit, "split"] = "train"
    elif split.by == "subject" and unsplit.any():
        found = split_subjects(_profiles(rows[unsplit], split.balanced), split.fractions, split.seed)
        rows.loc[unsplit, "split"] = rows["subject"][unsplit].map(found)
    elif split.by == "time":
        rows = _split_in_time(rows, split, seconds)
    rows["subject"] = rows["subject"].where(rows["subject"].notna(), rows["recording"])
    if split.by != "time" and not split.allow_shared_subjects:
        _refuse_shared_subjects(rows)
    _refuse_overlaps(rows)
    return rows.reset_index(drop=True)


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


def _counts(subjects: int, fractions: Fractions) -> list[int]:
    """Shares out whole subjects by largest remainder, at least one to every split that has a share."""
    wanted = [index for index, share in enumerate(fractions) if share > 0]
    if subjects < len(wanted):
        raise InputError(
            f"{subjects} subject(s) cannot fill {len(wanted)} splits: split by time, give fractions with zeros, "
            "or take every recording for training (none)."
        )
    exact = [subjects * share for share in fractions]
    counts = [max(math.floor(share + 1e-9), int(index in wanted)) for index, share in enumerate(exact)]
    while sum(counts) < subjects:
        counts[max(wanted, key=lambda index: exact[index] - counts[index])] += 1
    while sum(counts) > subjects:
        counts[max(wanted, key=lambda index: (counts[index] > 1, counts[index] - exact[index]))] -= 1
    return counts


def _profiles(rows: pd.DataFrame, balanced: bool) -> dict[str, frozenset]:
    profiles: dict[str, set] = {}
    for subject, label in zip(rows["subject"], rows["label"], strict=True):
        profiles.setdefault(subject, set()).add(label if balanced else None)
    return {subject: frozenset(labels) for subject, labels in profiles.items()}


def _split_in_time(rows: pd.DataFrame, split: Split, seconds: Mapping[str, float]) -> pd.DataFrame:
    """Cuts the rows without a split in time, or gives each whole to where it begins (`split.events`)."""
    done: list[Span] = []
    for row in rows[list(Span._fields)].itertuples(index=False):
        span = Span(*row)
        length = seconds.get(span.recording, 0.0)
        stop = length if math.isnan(span.stop) else min(span.stop, length)
        if span.split is not None:
            done.append(span)
        elif span.start < stop:
            span = span._replace(stop=stop)
            done += _whole(span, length, split) if split.events else _cut(span, split.fractions)
    return _end_before_later_splits(rows_of(done)) if split.events else rows_of(done)


def _cut(span: Span, fractions: Fractions) -> list[Span]:
    """Cuts a span into its train, validation and test parts, in this order of time."""
    edges = span.start + (span.stop - span.start) * np.cumsum((0.0, *fractions))
    edges[-1] = span.stop
    return [
        span._replace(split=name, start=float(begin), stop=float(end))
        for name, share, begin, end in zip(SPLITS, fractions, edges[:-1], edges[1:], strict=True)
        if share > 0
    ]


def _whole(span: Span, length: float, split: Split) -> list[Span]:
    """Sends a span to the split in which it begins when its recording is cut in time."""
    edges = length * np.cumsum(split.fractions)
    wanted = [index for index, share in enumerate(split.fractions) if share > 0]
    return [span._replace(split=SPLITS[next((i for i in wanted if span.start < edges[i]), wanted[-1])])]


def _end_before_later_splits(rows: pd.DataFrame) -> pd.DataFrame:
    """Ends an event where the first one of a later split begins, so that no second is in both."""
    order = rows["split"].map({name: place for place, name in enumerate(SPLITS)})
    for place in range(1, len(SPLITS)):
        first = rows["recording"].map(rows[order == place].groupby("recording")["start"].min())
        earlier = (order < place) & first.notna()
        rows.loc[earlier, "stop"] = np.minimum(rows["stop"], first)[earlier]
    return rows


def _require_subjects(rows: pd.DataFrame, split: Split) -> None:
    asked = rows[rows["split"].isna() & rows["subject"].isna()]
    if split.by != "subject" or asked.empty:
        return
    raise InputError(
        f"Nobody says who was recorded in {asked['recording'].nunique()} of {rows['recording'].nunique()} recordings "
        f"(such as {asked['recording'].iloc[0]!r}), and a split by subject must not guess it: give --subject-pattern "
        "REGEX, a manifest with a column subject, BIDS names (sub-XX), or --split-by time or none."
    )


def _refuse_shared_subjects(rows: pd.DataFrame) -> None:
    shared = {subject: found for subject, found in _splits_by(rows, "subject").items() if len(found) > 1}
    if not shared:
        return
    subject = min(shared)
    raise InputError(
        f"{len(shared)} subject(s) would be in two splits, such as {subject!r} (in "
        f"{' and '.join(sorted(shared[subject], key=SPLITS.index))}), so that scores would praise what was learnt of "
        "them: give every subject one split, or --allow-shared-subjects."
    )


def _splits_by(rows: pd.DataFrame, column: str) -> dict[str, set[str]]:
    """Returns the splits of every subject or recording; names of files need not be text that pandas could sort."""
    found: dict[str, set[str]] = {}
    for name, split in zip(rows[column], rows["split"], strict=True):
        found.setdefault(name, set()).add(split)
    return found


def _refuse_overlaps(rows: pd.DataFrame) -> None:
    splits = _splits_by(rows, "recording")
    several = np.array([len(splits[name]) > 1 for name in rows["recording"]], dtype=bool)
    for name, own in rows[several].sort_values("start", kind="stable").groupby("recording"):
        ends, end_split = -math.inf, None
        for split, start, stop in zip(own["split"], own["start"], own["stop"].fillna(math.inf), strict=True):
            if split != end_split and start < ends:
                raise InputError(
                    f"In the recording {name!r} the splits {end_split} and {split} share time from {start:g} s on: "
                    "let them not overlap, or test data would be trained on."
                )
            if stop >= ends:
                ends, end_split = stop, split
