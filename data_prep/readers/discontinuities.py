"""Where a recording breaks: the marks of all formats, and the continuous pieces between them."""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labram_jax.data_prep.readers.reader import Annotation

# A break leaves the samples [start, stop) out; where both are equal it cuts and leaves out nothing.
Break = tuple[int, int]

# Nothing was recorded meanwhile: MNE's readers put zeros or the like there.
_SKIP = re.compile(r"bad[ _]?(acq[ _]?skip|disconnect\w*)", re.IGNORECASE)
# Two recordings, or what was left of one, were joined here (MNE). One of some length does not say where exactly.
_JOIN = re.compile(r"(bad|edge)[ _]?boundary", re.IGNORECASE)
# EEGLAB's and BrainVision's joins: their duration is that of removed data, or means nothing.
_CUT = re.compile(r"boundary|new segment(/.*)?", re.IGNORECASE)
_BAD = re.compile(r"bad", re.IGNORECASE)
# The type that a text gets when it is written as a BrainVision marker.
_COMMENT = re.compile(r"^comment/", re.IGNORECASE)
# Times of records are written with few digits, so that less than this is no gap.
_SECONDS_OF_ROUNDING = 1e-3
_DAY = 86400.0


class Marks(NamedTuple):
    """What the annotations of a recording say of its samples: where it breaks, and what no window may touch."""

    breaks: list[Break]
    excluded: tuple[Annotation, ...]


def pieces_between(samples: int, breaks: Iterable[Break]) -> tuple[tuple[int, int], ...]:
    """Returns the continuous stretches [start, stop) of a recording of so many samples, in order.

    Breaks may come in any order, repeat, overlap, and lie outside the recording.
    """
    pieces, start = [], 0
    for first, last in sorted(breaks):
        first, last = max(first, 0), min(last, samples)
        if first >= samples:
            break
        if first > start:
            pieces.append((start, first))
        start = max(start, first, last)
    if start < samples:
        pieces.append((start, samples))
    return tuple(pieces)


def marks_of(
    annotations: Sequence[Annotation],
    rate_hz: float,
    cut_texts: Iterable[str] = (),
    error_seconds: Sequence[float] | None = None,
) -> Marks:
    """Sorts the annotations that break a recording from those that merely exclude stretches (text begins with BAD).

    `cut_texts` are further texts that cut in this format. `error_seconds` says how exactly each annotation's time is
    known; where that is more than a quarter of a sample, the samples that may be on the wrong side are left out.
    """
    cut_texts = frozenset(cut_texts)
    errors = [0.0] * len(annotations) if error_seconds is None else error_seconds
    breaks, excluded = [], []
    for annotation, error in zip(annotations, errors, strict=True):
        text = _COMMENT.sub("", annotation.text.strip())
        start, stop = annotation.start_seconds, annotation.start_seconds + annotation.duration_seconds
        if _CUT.fullmatch(text) or text in cut_texts:
            breaks.append(_break(start, start, rate_hz, error))
        elif _SKIP.match(text) or _JOIN.fullmatch(text):
            breaks.append(_break(start, stop, rate_hz, error))
        elif _BAD.match(text):
            excluded.append(annotation)
    return Marks(breaks, tuple(excluded))


def jumps(times: np.ndarray, samples: np.ndarray, rate_hz: float) -> np.ndarray:
    """Returns by how many seconds the clock is off its samples at each stretch after the first.

    Stretch i begins at sample `samples[i]` when the clock, which may start anew at midnight, says `times[i]`. What
    rounding explains is 0.
    """
    off = np.diff(times) - np.diff(samples) / rate_hz
    off[np.abs(off + _DAY) <= _tolerance(rate_hz)] = 0
    return np.where(np.abs(off) > _tolerance(rate_hz), off, 0.0)


def brainvision_breaks(header: Path) -> list[Break]:
    """Returns the starts of BrainVision's segments, from its markers `New Segment` and from its segments' length."""
    described = text_of(header)
    markers = brainvision_markers(header)
    found = re.findall(r"^Mk\d+=New Segment,[^,\n]*,\s*(\d+)", "" if markers is None else text_of(markers), re.M | re.I)
    breaks = [(int(sample) - 1,) * 2 for sample in found]
    segmented = re.search(r"^SegmentationType=(?!NOTSEGMENTED)\w+", described, re.M | re.I)
    length = re.search(r"^SegmentDataPoints=(\d+)", described, re.M | re.I)
    points = re.search(r"^DataPoints=(\d+)", described, re.M | re.I)
    if segmented and length and points and int(length[1]) > 0:
        breaks += [(sample,) * 2 for sample in range(0, int(points[1]), int(length[1]))]
    return breaks


def brainvision_markers(header: Path) -> Path | None:
    """Returns the file of markers that a BrainVision header names, or the one of its own name, or None."""
    named = re.search(r"^MarkerFile=(.+)$", text_of(header), re.M | re.I)
    candidates = [header.with_name(named[1].strip())] if named else []
    candidates += [header.with_suffix(suffix) for suffix in (".vmrk", ".amrk")] if named else []
    return next((path for path in candidates if path.is_file()), None)


def persyst_breaks(layout: Path, rate_hz: float) -> list[Break]:
    """Returns where the clock of a Persyst layout's section `SampleTimes` jumps."""
    section = re.search(r"^\s*\[SampleTimes\]\s*$(.*?)(?=^\s*\[|\Z)", text_of(layout), re.M | re.S | re.I)
    found = re.findall(r"^\s*(\d+)\s*=\s*([\d.]+)\s*$", section[1] if section else "", re.M)
    if not found:
        return []
    samples, times = np.array(sorted((int(sample), float(time)) for sample, time in found)).T
    return [(int(samples[1 + index]),) * 2 for index in np.flatnonzero(jumps(times, samples, rate_hz))]


def _tolerance(rate_hz: float) -> float:
    return max(0.5 / rate_hz, _SECONDS_OF_ROUNDING)


def _break(start: float, stop: float, rate_hz: float, error_seconds: float) -> Break:
    """Returns the samples of a break whose times may lie on a sample or, as some formats have it, before it."""
    first, last = (math.ceil(round(2 * seconds * rate_hz) / 2) for seconds in (start, stop))
    if error_seconds * rate_hz <= 0.25:
        return first, last
    return math.floor((start - error_seconds) * rate_hz), math.ceil((stop + error_seconds) * rate_hz)


def text_of(path: Path) -> str:
    """Reads a text file of a recording: UTF-8, or Latin-1 as older recorders write it."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")
