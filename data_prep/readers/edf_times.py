"""When the records of an EDF+ or BDF+ file were taken, and what its annotation signals say (their text is UTF-8).

EDF+ (Kemp and Olivan 2003): each record begins with a list without text, whose onset is the record's; all onsets are
in seconds of the clock, which goes on during gaps between records.
"""

import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from labram_jax.data_prep.readers.discontinuities import Break, jumps
from labram_jax.data_prep.readers.edf_header import EdfHeader, plain_label
from labram_jax.data_prep.readers.reader import Annotation

_LIST = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14(.*?)\x14?", re.DOTALL)
# Files declared as continuous are cut only where their clock is off by more than this share of a record.
_SHARE_OF_RECORD = 0.05
# ActiView sets this bit of the status at the first sample after a pause (and at the first of the file).
_NEW_EPOCH = 1 << 16


@dataclass(frozen=True)
class EdfTimes:
    """Where the records break, in samples of the EEG, and the annotations in seconds of the file."""

    breaks: list[Break]
    annotations: tuple[Annotation, ...]
    notes: tuple[str, ...] = ()


def read_times(header: EdfHeader, samples: int) -> EdfTimes:
    """Reads the annotation signals of a file whose EEG has so many samples in a record."""
    if not header.annotation_signals:
        return EdfTimes(_new_epochs(header, samples), ())
    stamps = np.full(header.records, np.nan)
    found: dict[tuple[float, float, str], None] = {}
    for place, signal in enumerate(header.annotation_signals):
        for record, content in enumerate(header.bytes_of(signal)):
            for position, entry in enumerate(_lists(content.tobytes())):
                onset, duration, texts = entry
                if place == position == 0 and not texts[0]:
                    stamps[record] = onset
                found.update({(onset, duration, _plain(text, header.labels)): None for text in texts if text})
    origin = float(stamps[0]) if header.records and np.isfinite(stamps[0]) else 0.0
    even = np.arange(header.records) * header.record_seconds
    starts = _starts(stamps - origin, even, header.declared)
    gaps = jumps(starts, np.arange(header.records) * samples, samples / header.record_seconds)
    if header.declared[3:5] != "+D":
        gaps[np.abs(gaps) < _SHARE_OF_RECORD * header.record_seconds] = 0
    annotations = sorted(Annotation(onset - origin, duration, text) for onset, duration, text in found)
    if gaps.any():
        annotations = sorted(_in_file(annotation, starts, header.record_seconds) for annotation in annotations)
    breaks = [((int(record) + 1) * samples,) * 2 for record in np.flatnonzero(gaps)]
    return EdfTimes(breaks + _new_epochs(header, samples), tuple(annotations), _notes(gaps))


def _lists(content: bytes) -> list[tuple[float, float, list[bytes]]]:
    """Returns the time-stamped lists of a record as (onset, duration, texts)."""
    matches = (_LIST.fullmatch(part) for part in content.split(b"\0") if part)
    return [(float(match[1]), float(match[2] or 0), match[3].split(b"\x14")) for match in matches if match]


def _plain(text: bytes, labels: tuple[str, ...]) -> str:
    """Returns an annotation's text, without the channel that it is about (`text@@channel`)."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:  # older recorders write their country's letters
        decoded = text.decode("latin-1")
    head, _, channel = decoded.partition("@@")
    return head if channel in labels else decoded


def _starts(
    stamps: Float64[np.ndarray, "records"], even: Float64[np.ndarray, "records"], declared: str
) -> Float64[np.ndarray, "records"]:
    """Returns when records begin: as stamped, except where a file without gaps (`+C`) has no sensible stamps."""
    missing = np.isnan(stamps)
    if declared[3:5] != "+D" and (missing.any() or (np.diff(stamps) <= 0).any()):
        return even
    known = np.maximum.accumulate(np.where(missing, 0, np.arange(len(stamps))))
    return np.where(missing, np.where(missing, 0, stamps)[known] + even - even[known], stamps)


def _in_file(annotation: Annotation, starts: Float64[np.ndarray, "records"], record_seconds: float) -> Annotation:
    """Returns an annotation whose clock times became seconds of the file, in which gaps take no time."""
    order = np.argsort(starts, kind="stable")

    def place(clock: float) -> float:
        record = order[max(np.searchsorted(starts[order], clock, side="right") - 1, 0)]
        into = clock - starts[record]
        last = record == len(starts) - 1
        return float(record * record_seconds + (into if last else min(into, record_seconds)))

    start = place(annotation.start_seconds)
    stop = place(annotation.start_seconds + annotation.duration_seconds)
    return Annotation(start, max(stop - start, 0.0), annotation.text)


def _notes(gaps: np.ndarray) -> tuple[str, ...]:
    count, seconds = np.count_nonzero(gaps), gaps[gaps > 0].sum()
    return (f"The times of its records leave {count} gap(s) of {seconds:g} s altogether.",) if count else ()


def _new_epochs(header: EdfHeader, samples: int) -> list[Break]:
    """Returns where a BioSemi recording went on after a pause, which its channel Status tells."""
    names = [plain_label(label) for label in header.labels]
    if not header.declared.startswith("24BIT") or "status" not in names:
        return []
    signal = names.index("status")
    status = header.bytes_of(signal).reshape(-1, 3)
    begins = np.flatnonzero(np.diff((status[:, 2] & (_NEW_EPOCH >> 16)).astype(np.int8)) > 0) + 1
    return [(int(sample) * samples // header.samples[signal],) * 2 for sample in begins]
