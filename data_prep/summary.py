"""What a recording holds and what can be used of it, as text for a person."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from labram_jax.data_prep.cleaning.channels import electrodes_of
from labram_jax.data_prep.cleaning.quality import check_rate, suspicions
from labram_jax.data_prep.readers.bids import open_bids
from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.data_prep.readers.recording import sentences
from labram_jax.data_prep.recipe import Recipe
from labram_jax.errors import InputError

_INSPECTED_SECONDS = 60.0


@dataclass(frozen=True)
class RecordingSummary:
    """What `inspect` found in a recording; `str` gives the text for a person.

    `electrodes` {channel: electrode} are those of the vocabulary, `ignored` {channel: reason} the others.
    `suspicions` {electrode: sentence} are about amplitudes; the key "" stands for the whole recording.
    """

    path: Path
    header: Header
    electrodes: Mapping[str, str]
    ignored: Mapping[str, str]
    suspicions: Mapping[str, str]

    @property
    def annotations(self) -> dict[str, int]:
        """How often each text is annotated."""
        return dict(Counter(annotation.text for annotation in self.header.annotations))

    def __str__(self) -> str:
        header, count = self.header, len(self.header.channels) + len(self.header.others)
        band = "" if header.pass_hz is None else f"; the header says {header.pass_hz[0]:g}-{header.pass_hz[1]:g} Hz"
        lines = [
            f"{self.path}: a recording ({header.format or 'of unknown format'})",
            f"  {count} channels, {header.rate_hz:g} Hz, {header.seconds:.1f} s{band}",
            f"  {_pieces(header)}",
            f"  electrodes ({len(self.electrodes)}): {' '.join(self.electrodes.values()) or 'none known'}",
        ]
        if header.marked_bad:
            bad = [self.electrodes.get(name, name) for name in header.channels if name in header.marked_bad]
            lines.append(f"  marked bad in the recording ({len(bad)}): {' '.join(bad)}")
        if header.excluded:
            stretches = [_stretch(start, start + duration, repr(text)) for start, duration, text in header.excluded]
            lines.append(f"  excluded ({len(stretches)}): {', '.join(_shorten(stretches))}")
        if self.ignored:
            lines.append(f"  ignored ({len(self.ignored)}):")
            lines += [f"    {reason}" for reason in _shorten(_grouped(self.ignored))]
        if self.annotations:
            counts = [f"{text!r} x {count}" for text, count in self.annotations.items()]
            lines.append(f"  annotations: {', '.join(_shorten(counts))}")
        lines += [f"  note: {note}" for note in header.notes]
        lines += [f"  SUSPICIOUS: {sentence}" for sentence in _shorten(list(self.suspicions.values()))]
        return "\n".join(lines)


def inspect(path: Path) -> RecordingSummary:
    """Reads the header and the first minute of a recording, and what stands beside it, and tells what can be used.

    Raises InputError for whatever cannot be read.
    """
    path = Path(path)
    with sentences(path):
        reader = open_bids(path)
        found = electrodes_of(reader.header, Recipe())
        eeg = _first_minute(reader, list(found.usable))
        odd = _suspicions(eeg, reader.header.rate_hz, list(found.usable.values())) if eeg.size else {}
    return RecordingSummary(path, reader.header, found.usable, found.unusable, odd)


def _suspicions(eeg: Float64[np.ndarray, "C samples"], rate_hz: float, electrodes: Sequence[str]) -> dict[str, str]:
    try:
        check_rate(rate_hz)
    except InputError as error:
        return {"": str(error)}
    return suspicions(eeg, rate_hz, electrodes)


def _first_minute(reader: Reader, channels: Sequence[str]) -> Float64[np.ndarray, "C samples"]:
    """Reads the first minute of samples that are in pieces."""
    left = round(_INSPECTED_SECONDS * reader.header.rate_hz) if channels else 0
    parts = [np.zeros((len(channels), 0))]
    for start, stop in reader.header.pieces:
        length = min(stop - start, left)
        if length > 0:
            parts.append(reader.microvolts(channels, start, start + length))
        left -= length
    return np.concatenate(parts, axis=1)


def _pieces(header: Header) -> str:
    rate, pieces = header.rate_hz, header.pieces
    if pieces == ((0, header.samples),):
        return "one continuous piece"
    lost = (header.samples - sum(stop - start for start, stop in pieces)) / rate
    listed = ", ".join(_shorten([_stretch(start / rate, stop / rate) for start, stop in pieces]))
    return f"{len(pieces)} continuous pieces: {listed}" + (f"; {lost:.1f} s are left out between them" if lost else "")


def _grouped(reasons: Mapping[str, str]) -> list[str]:
    """Returns reasons, those that differ in their channel alone as one."""
    groups: dict[str, list[str]] = {}
    for channel, reason in reasons.items():
        groups.setdefault(reason.replace(repr(channel), "it", 1), []).append(channel)
    return [
        reasons[channels[0]]
        if len(channels) == 1
        else f"{', '.join(_shorten(map(repr, channels), 6))}: {reasons[channels[0]]}"
        for channels in groups.values()
    ]


def _stretch(start: float, stop: float, what: str = "") -> str:
    return f"{start:.1f}-{stop:.1f} s {what}".rstrip()


def _shorten(items: Iterable[str], most: int = 12) -> list[str]:
    items = list(items)
    return items if len(items) <= most else [*items[: most - 1], f"... and {len(items) - most + 1} more"]
