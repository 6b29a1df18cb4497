"""Which windows a corpus has at some length and stride: views of its pieces, found from its tables alone.

A window lies in one piece and in one span as a whole. Where a span meets a piece, windows begin at the later of their
two starts and follow each other by the stride; those that touch an excluded stretch, or have too many bad electrodes,
are left out. Positions are samples at 200 Hz from the start of a piece.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, UInt8

from labram_jax.data.schema import NO_CLASS, QUALITY, RATE_HZ, CorpusInfo, QualityLimits
from labram_jax.data.tables import Tables
from labram_jax.errors import InputError
from labram_jax.montage import MAX_SECONDS, check_seconds

# The published windows hold about this many patches (64 electrodes x 4 s, 32 x 8 s).
_USUAL_PATCHES = 256
# Seconds such as 0.1 * 3 must not lose a sample to floating-point rounding.
_ROUNDING = 1e-6
# Windows that are judged at once, which bounds the memory that it takes.
_JUDGED = 65536
_EXAMPLES = 2  # windows left out whose places are kept, of each reason
_MARKED, _LOST = QUALITY["marked bad"], QUALITY["lost"]
_ANNOTATED = "annotated as bad"


def default_seconds(electrodes: int) -> int:
    """Returns the window length in seconds that makes about 256 patches, between 1 and 16."""
    return min(max(_USUAL_PATCHES // electrodes, 1), MAX_SECONDS)


class Place(NamedTuple):
    """Where a window is: number of its piece, its first sample there, and number of its span."""

    piece: int
    start: int
    span: int


class _Runs(NamedTuple):
    """Windows that follow each other by the stride: piece and span, the first one's start, how many there are."""

    piece: Int64[np.ndarray, "runs"]
    span: Int64[np.ndarray, "runs"]
    start: Int64[np.ndarray, "runs"]
    count: Int64[np.ndarray, "runs"]


class _Stretches(NamedTuple):
    """Stretches of all pieces in turn, in samples, by where they begin; `end` is the latest end so far."""

    begin: Int64[np.ndarray, "N"]
    end: Int64[np.ndarray, "N"]


class WindowIndex:
    """The windows of one montage in one split, in order, kept as runs: its size does not grow with their number.

    Args:
      montage: name of the montage.
      info, tables: of the corpus.
      quality: flags of the montage's seconds (`schema.QUALITY`); may lie on disk.
      split: whose spans count.
      seconds: length of a window, 1 to 16.
      stride_seconds: from the start of one window to the next; None is the window's length.
      long: allow more than 16 s, for windows that are split before a model sees them.
      unusable: keep windows that cannot be used too; `why_unusable` says which they are.

    Attributes:
      dropped: windows left out, by reason.
      bad_electrodes: electrodes that are bad in windows that were kept, by what is wrong.

    Raises InputError for a length or a stride that cannot be used.
    """

    def __init__(
        self,
        montage: str,
        info: CorpusInfo,
        tables: Tables,
        quality: UInt8[np.ndarray, "seconds C"],
        split: str,
        seconds: int,
        stride_seconds: float | None = None,
        long: bool = False,
        unusable: bool = False,
    ):
        self.seconds = check_seconds(seconds, np.inf if long else MAX_SECONDS)
        self.samples, self.stride = self.seconds * RATE_HZ, stride_samples(self.seconds, stride_seconds)
        self.dropped: Counter[str] = Counter()
        self.bad_electrodes: Counter[str] = Counter()
        self._left_out: dict[str, list[Place]] = {}
        self._file = quality.filename if isinstance(quality, np.memmap) else None
        self._quality, self._limits = np.asarray(quality), info.quality
        self._judged = _MARKED if info.quality.bad_electrodes is None else np.uint8(255)
        pieces = tables.pieces[tables.pieces["montage"] == montage].reset_index(drop=True)
        spans = tables.spans[tables.spans["split"] == split]
        spans = spans[spans["recording"].isin(pieces["recording"])].reset_index(drop=True)
        self.subjects, self.recordings = spans["subject"].to_numpy(), spans["recording"].to_numpy()
        self.labels = _labels(spans, info)
        self._first_records, self._first_seconds = pieces["first_record"].to_numpy(), pieces["first_second"].to_numpy()
        self._start_seconds = pieces["start_seconds"].to_numpy()
        seconds_of = [
            self._flagged_seconds(*piece) for piece in zip(self._first_seconds, pieces["samples"], strict=True)
        ]
        self._flagged = np.array([len(own) > 0 for own in seconds_of], dtype=bool)
        flagged = np.concatenate([np.zeros(0, dtype=np.int64), *seconds_of]) * RATE_HZ
        candidates = _candidates(spans, pieces, self.samples, self.stride)
        self._excluded = _stretches(*_excluded_samples(tables.excluded, pieces))
        usable = self._keep(candidates, self._excluded, _stretches(flagged, flagged + RATE_HZ))
        self._runs = candidates if unusable else usable
        self._ends = np.cumsum(self._runs.count)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict:
        # Flags on disk do not travel to another process, only where they are.
        return {**self.__dict__, "_quality": self._quality if self._file is None else None}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._file is not None:
            self._quality = np.asarray(np.load(self._file, mmap_mode="r"))

    def place(self, index: int) -> Place:
        """Returns where window `index` (from 0) is."""
        run = int(np.searchsorted(self._ends, index, side="right"))
        step = index - int(self._ends[run] - self._runs.count[run])
        return Place(
            int(self._runs.piece[run]), int(self._runs.start[run]) + step * self.stride, int(self._runs.span[run])
        )

    def first_record(self, place: Place) -> int:
        """Returns the number of the first record of a window's piece."""
        return int(self._first_records[place.piece])

    def start_seconds(self, place: Place) -> float:
        """Returns the start of a window in seconds from its recording's start."""
        return float(self._start_seconds[place.piece]) + place.start / RATE_HZ

    def bad(self, place: Place) -> Bool[np.ndarray, "C"] | None:
        """Returns which electrodes are bad in a window; None where none is, for the sake of speed."""
        if not self._flagged[place.piece]:
            return None
        bad = (self.quality(place) & self._judged) != 0
        return bad if bad.any() else None

    def bads(self, places: Sequence[Place]) -> Bool[np.ndarray, "N C"]:
        """Returns which electrodes are bad in each of some windows."""
        nothing = np.zeros(self._quality.shape[1], bool)
        return np.stack([nothing if (own := self.bad(place)) is None else own for place in places])

    def quality(self, place: Place) -> UInt8[np.ndarray, "C"]:
        """Returns all that is wrong with each electrode in the seconds that a window touches, as `schema.QUALITY`."""
        begin = int(self._first_seconds[place.piece]) * RATE_HZ + place.start
        seconds = self._quality[begin // RATE_HZ : (begin + self.samples - 1) // RATE_HZ + 1]
        return np.bitwise_or.reduce(seconds, axis=0)

    def why_unusable(self, places: Sequence[Place]) -> list[str]:
        """Returns why training would leave out each of some windows; an empty text where it would not."""
        begin = np.asarray([int(self._first_seconds[place.piece]) * RATE_HZ + place.start for place in places])
        why = np.full(len(places), "", dtype=object)
        for reason, mask in _useless(self._flags(begin), self._limits).items():
            why[mask] = reason
        why[_touch(begin, begin + self.samples, self._excluded)] = _ANNOTATED
        return why.tolist()

    def listed(self) -> pd.DataFrame:
        """Returns a table of all windows, in order: recording, subject, start_seconds (from the recording's start)."""
        (piece, start), span = self.starts(), np.repeat(self._runs.span, self._runs.count)
        columns = {"recording": self.recordings[span], "subject": self.subjects[span]}
        return pd.DataFrame(columns | {"start_seconds": self._start_seconds[piece] + start / RATE_HZ})

    def starts(self) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
        """Returns the piece of every window, in order, and its first sample there."""
        runs = self._runs
        piece, start, first = (np.repeat(own, runs.count) for own in (runs.piece, runs.start, self._ends - runs.count))
        return piece, start + (np.arange(len(self)) - first) * self.stride

    def window_labels(self) -> np.ndarray | None:
        """Returns the labels of all windows, in order: int64 [N], float32 [N, outputs], or None without labels."""
        return None if self.labels is None else np.repeat(self.labels[self._runs.span], self._runs.count, axis=0)

    def of_class(self, label: int) -> "WindowIndex":
        """Returns the windows of one class alone, in order; `dropped` and the like stay those of all."""
        own = copy.copy(self)
        of_class = self.labels[self._runs.span] == label
        own._runs = _Runs(*(column[of_class] for column in self._runs))
        own._ends = np.cumsum(own._runs.count)
        return own

    def only(self, numbers: Int64[np.ndarray, "N"]) -> "WindowIndex":
        """Returns some of the windows, by their ascending numbers; `dropped` and the like stay those of all."""
        own, runs = copy.copy(self), self._runs
        run = np.searchsorted(self._ends, numbers, side="right")
        start = runs.start[run] + (numbers - (self._ends - runs.count)[run]) * self.stride
        own._runs = _Runs(runs.piece[run], runs.span[run], start, np.ones(len(numbers), np.int64))
        own._ends = np.cumsum(own._runs.count)
        return own

    def left_out(self, reason: str) -> "WindowIndex":
        """Returns the first few windows that were left out for one of the reasons in `dropped`."""
        own, places = copy.copy(self), self._left_out.get(reason, [])
        piece, start, span = np.array(places, dtype=np.int64).reshape(-1, 3).T
        own._runs = _Runs(piece, span, start, np.ones(len(places), np.int64))
        own._ends = np.cumsum(own._runs.count)
        return own

    @property
    def nbytes(self) -> int:
        """Bytes that the index takes, beside texts and what lies on disk."""
        arrays = [*self._runs, self._ends, self._first_records, self._first_seconds, self._start_seconds, self._flagged]
        return sum(array.nbytes for array in arrays)

    def _flagged_seconds(self, first_second: int, samples: int) -> Int64[np.ndarray, "seconds"]:
        """Returns which seconds of a piece, as rows of the flags, have any flag."""
        flags = self._quality[first_second : first_second - (-samples // RATE_HZ)]
        # Most pieces have none, and all at once is much faster than row by row.
        return first_second + np.flatnonzero(flags.any(axis=1)) if flags.any() else np.zeros(0, dtype=np.int64)

    def _keep(self, candidates: _Runs, excluded: _Stretches, flagged: _Stretches) -> _Runs:
        """Leaves out the windows that cannot be used, and counts them.

        The time of `excluded` and `flagged` is that of the flags: all pieces of the montage in turn, in samples.
        """
        begin = self._first_seconds[candidates.piece] * RATE_HZ + candidates.start
        end = begin + self.stride * (candidates.count - 1) + self.samples
        odd = _touch(begin, end, excluded) | _touch(begin, end, flagged)
        even, odd = np.flatnonzero(~odd), np.flatnonzero(odd)
        # What is kept: numbers of candidates, steps from their first window, numbers of windows.
        kept = [(even, np.zeros(len(even), dtype=np.int64), candidates.count[even])]
        ends = np.cumsum(candidates.count[odd])
        for first in range(0, int(ends[-1]) if len(ends) else 0, _JUDGED):
            windows = np.arange(first, min(first + _JUDGED, int(ends[-1])))
            run = np.searchsorted(ends, windows, side="right")
            number, step = odd[run], windows - (ends[run] - candidates.count[odd[run]])
            start = candidates.start[number] + step * self.stride
            useless = self._judge(begin[number] + step * self.stride, excluded, flagged)
            for reason, mask in useless.items():
                self.dropped[reason] += int(mask.sum())
                known = self._left_out.setdefault(reason, [])
                for one in np.flatnonzero(mask)[: _EXAMPLES - len(known)]:
                    which = number[one]
                    known.append(Place(int(candidates.piece[which]), int(start[one]), int(candidates.span[which])))
            keep = ~np.logical_or.reduce([*useless.values()])
            number, step = number[keep], step[keep]
            new = (np.diff(number, prepend=-1) != 0) | (np.diff(step, prepend=-1) != 1)
            firsts = np.flatnonzero(new)
            kept.append((number[firsts], step[firsts], np.diff(firsts, append=len(number))))
        self.dropped, self.bad_electrodes = +self.dropped, +self.bad_electrodes  # without zeros
        number, step, count = (np.concatenate(columns) for columns in zip(*kept, strict=True))
        order = np.argsort(number, kind="stable")
        number, step, count = number[order], step[order], count[order]
        start = candidates.start[number] + step * self.stride
        return _Runs(candidates.piece[number], candidates.span[number], start, count)

    def _judge(
        self, begin: Int64[np.ndarray, "N"], excluded: _Stretches, flagged: _Stretches
    ) -> dict[str, Bool[np.ndarray, "N"]]:
        """Returns which of the windows that begin there cannot be used, by reason; each of them has one."""
        end = begin + self.samples
        touched = _touch(begin, end, excluded)
        looked_at = np.flatnonzero(_touch(begin, end, flagged) & ~touched)
        flags = self._flags(begin[looked_at])
        useless = _useless(flags, self._limits)
        dropped = np.logical_or.reduce([*useless.values()])
        judged = flags[~dropped] & self._judged
        for kind, bit in QUALITY.items():
            self.bad_electrodes[kind] += int(np.count_nonzero(judged & bit))
        found = {_ANNOTATED: touched}
        for reason, mask in useless.items():
            found[reason] = np.zeros(len(begin), dtype=bool)
            found[reason][looked_at[mask]] = True
        return found

    def _flags(self, begin: Int64[np.ndarray, "N"]) -> UInt8[np.ndarray, "N C"]:
        """Returns all that is wrong, in any second that a window touches, with each of its electrodes."""
        rows, last = begin // RATE_HZ, (begin + self.samples - 1) // RATE_HZ
        flags = self._quality[rows]
        for _ in range(self.seconds if len(begin) else 0):
            rows = np.minimum(rows + 1, last)
            flags |= self._quality[rows]
        return flags


def stride_samples(seconds: int, stride_seconds: float | None) -> int:
    """Returns the samples from the start of a window to the next; None is its length. InputError for less than one."""
    samples = round((seconds if stride_seconds is None else stride_seconds) * RATE_HZ)
    if samples < 1:
        raise InputError(f"A stride of {stride_seconds} s is less than a sample: give at least {1 / RATE_HZ} s.")
    return samples


def _labels(spans: pd.DataFrame, info: CorpusInfo) -> np.ndarray | None:
    if info.label is None:
        return None
    values = spans[list(info.label_columns)].to_numpy(dtype=np.float64)
    return (
        values.astype(np.float32) if info.label == "vector" else np.nan_to_num(values[:, 0], nan=NO_CLASS).astype(int)
    )


def _candidates(spans: pd.DataFrame, pieces: pd.DataFrame, samples: int, stride: int) -> _Runs:
    """Returns the windows of each meeting of a span with a piece, spans in order and pieces within."""
    spans = spans[["recording", "start", "stop"]].reset_index(names="span")
    pieces = pieces[["recording", "start_seconds", "samples"]].reset_index(names="piece")
    met = spans.merge(pieces, on="recording").sort_values(["span", "piece"])
    length = met["samples"].to_numpy()
    start = np.ceil((met["start"] - met["start_seconds"]).to_numpy() * RATE_HZ - _ROUNDING)
    stop = np.floor((met["stop"] - met["start_seconds"]).to_numpy() * RATE_HZ + _ROUNDING)
    start = np.maximum(start, 0).astype(np.int64)
    stop = np.minimum(np.where(np.isnan(stop), length, stop), length).astype(np.int64)
    count = np.maximum((stop - start - samples) // stride + 1, 0)
    some = count > 0
    return _Runs(met["piece"].to_numpy()[some], met["span"].to_numpy()[some], start[some], count[some])


def _excluded_samples(
    excluded: pd.DataFrame, pieces: pd.DataFrame
) -> tuple[Int64[np.ndarray, "N"], Int64[np.ndarray, "N"]]:
    """Returns where excluded stretches begin and end in the pieces that they meet, in the time of the flags."""
    met = excluded.merge(pieces, on="recording")
    start, stop = ((met[edge] - met["start_seconds"]).to_numpy() * RATE_HZ for edge in ("start", "stop"))
    begin = np.maximum(np.floor(start + _ROUNDING), 0).astype(np.int64)
    end = np.minimum(np.ceil(stop - _ROUNDING), met["samples"].to_numpy()).astype(np.int64)
    some, first = begin < end, met["first_second"].to_numpy() * RATE_HZ
    return (first + begin)[some], (first + end)[some]


def _stretches(begin: Int64[np.ndarray, "N"], end: Int64[np.ndarray, "N"]) -> _Stretches:
    order = np.argsort(begin, kind="stable")
    # The first stretch that ends behind a moment is then found by bisection, also where stretches overlap.
    return _Stretches(begin[order], np.maximum.accumulate(end[order]))


def _touch(begin: Int64[np.ndarray, "N"], end: Int64[np.ndarray, "N"], stretches: _Stretches) -> Bool[np.ndarray, "N"]:
    """Returns which of [begin, end) have a sample in common with any of the stretches."""
    place = np.searchsorted(stretches.end, begin, side="right")
    return np.append(stretches.begin, np.iinfo(np.int64).max)[place] < end


def _useless(flags: UInt8[np.ndarray, "N C"], limits: QualityLimits) -> dict[str, Bool[np.ndarray, "N"]]:
    """Returns which windows cannot be used, by reason; each has one."""
    marked = (flags & _MARKED) != 0
    if limits.bad_electrodes is None:
        nothing = marked.all(axis=1)
        lost = (((flags & _LOST) != 0) & ~marked).any(axis=1)
        return {"bad electrodes (marked bad)": nothing, "lost samples": lost & ~nothing}
    bad = ((flags != 0) & ~marked).sum(axis=1)
    many = (bad > limits.bad_electrodes * (~marked).sum(axis=1)) | (flags != 0).all(axis=1)
    kinds = [kind for kind, bit in QUALITY.items() if bit != _MARKED]
    counts = np.stack([(((flags & QUALITY[kind]) != 0) & ~marked).sum(axis=1) for kind in kinds])
    worst = np.where(bad > 0, counts.argmax(axis=0), len(kinds))
    reasons = [f"bad electrodes ({kind})" for kind in (*kinds, "marked bad")]
    return {reason: many & (worst == number) for number, reason in enumerate(reasons)}
