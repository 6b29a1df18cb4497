"""Which windows a corpus has at some length and stride: views of its pieces, found from its tables alone.

A window lies in one piece and in one span as a whole. Where a span meets a piece, windows begin at the later of their
two starts and follow each other by the stride; those that touch an excluded stretch, or have too many bad electrodes,
are left out. Positions are samples at 200 Hz from the start of a piece.
"""

import math
from collections import Counter
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
_MARKED, _LOST = QUALITY["marked bad"], QUALITY["lost"]


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


class WindowIndex:
    """The windows of one montage in one split, in order, kept as runs: its size does not grow with their number.

    Args:
      montage: name of the montage.
      info, tables: of the corpus.
      quality: flags of the montage's seconds (`schema.QUALITY`); may lie on disk.
      split: whose spans count.
      seconds: length of a window, 1 to 16.
      stride_seconds: from the start of one window to the next; None is the window's length.

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
    ):
        self.seconds = check_seconds(seconds)
        self.samples, self.stride = self.seconds * RATE_HZ, _stride_samples(self.seconds, stride_seconds)
        self.dropped: Counter[str] = Counter()
        self.bad_electrodes: Counter[str] = Counter()
        self._quality, self._limits = quality, info.quality
        self._judged = _MARKED if info.quality.bad_electrodes is None else np.uint8(255)
        pieces = tables.pieces[tables.pieces["montage"] == montage].reset_index(drop=True)
        spans = tables.spans[tables.spans["split"] == split]
        spans = spans[spans["recording"].isin(pieces["recording"])].reset_index(drop=True)
        self.subjects, self.recordings = spans["subject"].to_numpy(), spans["recording"].to_numpy()
        self.labels = _labels(spans, info)
        self._first_records, self._first_seconds = pieces["first_record"].to_numpy(), pieces["first_second"].to_numpy()
        self._start_seconds = pieces["start_seconds"].to_numpy()
        self._flagged = self._flagged_pieces(pieces)
        excluded = _excluded_samples(tables.excluded, pieces)
        self._runs = self._keep(_candidates(spans, pieces, self.samples, self.stride), excluded)
        self._ends = np.cumsum(self._runs.count)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict:
        # Flags on disk do not travel to another process, only where they are.
        state = dict(self.__dict__)
        if isinstance(self._quality, np.memmap):
            state["_quality"] = self._quality.filename
        return state

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if not isinstance(self._quality, np.ndarray):
            self._quality = np.load(self._quality, mmap_mode="r")

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
        bad = (self._flags(place.piece, np.array([place.start]))[0] & self._judged) != 0
        return bad if bad.any() else None

    def window_labels(self) -> np.ndarray | None:
        """Returns the labels of all windows, in order: int64 [N], float32 [N, outputs], or None without labels."""
        return None if self.labels is None else np.repeat(self.labels[self._runs.span], self._runs.count, axis=0)

    @property
    def nbytes(self) -> int:
        """Bytes that the index takes, beside texts and what lies on disk."""
        arrays = [*self._runs, self._ends, self._first_records, self._first_seconds, self._start_seconds, self._flagged]
        return sum(array.nbytes for array in arrays)

    def _flagged_pieces(self, pieces: pd.DataFrame) -> Bool[np.ndarray, "pieces"]:
        """Returns which pieces have a flag in any second, so that all others need no look."""
        stops = self._first_seconds + -(-pieces["samples"].to_numpy() // RATE_HZ)
        return np.array(
            [self._quality[start:stop].any() for start, stop in zip(self._first_seconds, stops, strict=True)],
            dtype=bool,
        )

    def _flags(self, piece: int, starts: Int64[np.ndarray, "N"]) -> UInt8[np.ndarray, "N C"]:
        """Returns all that is wrong, in any second that a window touches, with each of its electrodes."""
        first, last = starts // RATE_HZ, (starts + self.samples - 1) // RATE_HZ
        rows = self._first_seconds[piece] + first
        flags = np.array(self._quality[rows])
        for _ in range(int((last - first).max())):
            rows = np.minimum(rows + 1, self._first_seconds[piece] + last)
            flags |= self._quality[rows]
        return flags

    def _keep(self, candidates: _Runs, excluded: dict[int, np.ndarray]) -> _Runs:
        """Leaves out the windows that cannot be used, and counts them."""
        runs: list[_Runs] = []
        odd = self._flagged[candidates.piece] | np.isin(candidates.piece, list(excluded))
        previous = 0
        for number in np.flatnonzero(odd).tolist():
            runs.append(_Runs(*(column[previous:number] for column in candidates)))
            runs += self._judge(_Runs(*(column[number] for column in candidates)), excluded)
            previous = number + 1
        runs.append(_Runs(*(column[previous:] for column in candidates)))
        return _Runs(*(np.concatenate(columns).astype(np.int64) for columns in zip(*runs, strict=True)))

    def _judge(self, run: _Runs, excluded: dict[int, np.ndarray]) -> list[_Runs]:
        """Returns the parts of one run that can be used."""
        piece, kept = int(run.piece), []
        for first in range(0, int(run.count), _JUDGED):
            starts = run.start + self.stride * np.arange(first, min(first + _JUDGED, int(run.count)), dtype=np.int64)
            touched = _touches(starts, self.samples, excluded.get(piece))
            flags = self._flags(piece, starts)
            useless = _useless(flags, self._limits)
            self.dropped["annotated as bad"] += int(touched.sum())
            for reason, mask in useless.items():
                self.dropped[reason] += int((mask & ~touched).sum())
            keep = ~np.logical_or.reduce([touched, *useless.values()])
            judged = flags[keep] & self._judged
            for kind, bit in QUALITY.items():
                self.bad_electrodes[kind] += int(((judged & bit) != 0).sum())
            kept.append(starts[keep])
        self.dropped, self.bad_electrodes = +self.dropped, +self.bad_electrodes  # without zeros
        starts = np.concatenate(kept)
        parts = np.split(starts, np.flatnonzero(np.diff(starts) != self.stride) + 1)
        return [_Runs(*np.array([[piece], [run.span], [p[0]], [len(p)]], dtype=np.int64)) for p in parts if len(p)]


def _stride_samples(seconds: int, stride_seconds: float | None) -> int:
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


def _excluded_samples(excluded: pd.DataFrame, pieces: pd.DataFrame) -> dict[int, Int64[np.ndarray, "stretches 2"]]:
    """Returns, for each piece that has any, its excluded stretches in samples."""
    met = excluded.merge(pieces[["recording", "start_seconds", "samples"]].reset_index(names="piece"), on="recording")
    edges = np.stack([met["start"] - met["start_seconds"], met["stop"] - met["start_seconds"]], axis=1) * RATE_HZ
    found: dict[int, list] = {}
    for piece, samples, (start, stop) in zip(met["piece"].tolist(), met["samples"].tolist(), edges, strict=True):
        begin, end = max(math.floor(start + _ROUNDING), 0), min(math.ceil(stop - _ROUNDING), samples)
        if begin < end:
            found.setdefault(piece, []).append((begin, end))
    return {piece: np.array(sorted(stretches), dtype=np.int64) for piece, stretches in found.items()}


def _touches(
    starts: Int64[np.ndarray, "N"], samples: int, stretches: Int64[np.ndarray, "stretches 2"] | None
) -> Bool[np.ndarray, "N"]:
    touched = np.zeros(len(starts), dtype=bool)
    for begin, end in [] if stretches is None else stretches.tolist():
        touched[np.searchsorted(starts, begin - samples, side="right") : np.searchsorted(starts, end)] = True
    return touched


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
