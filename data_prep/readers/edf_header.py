"""The header of an EDF or BDF file, checked against the file, since MNE guesses where the two disagree."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from labram_jax.data_prep.readers.reader import HIGHEST_RATE_HZ
from labram_jax.errors import InputError

_FIXED_BYTES = 256
_SIGNAL_BYTES = 256
# In a signal's header: the label, 80 bytes of transducer, the unit, ranges and prefiltering, the samples per record.
_LABEL, _UNIT, _SAMPLES = (0, 16), (96, 8), 216
_SAMPLE_BYTES = {".edf": 2, ".bdf": 3}
_ANNOTATIONS = ("edf annotations", "bdf annotations")


@dataclass(frozen=True)
class EdfHeader:
    """What an EDF or BDF file says of its records.

    `declared` is the text that says whether the records follow each other ("EDF+C", "EDF+D", "24BIT", or nothing).
    `labels`, `units` and `samples` (in a record) have one entry for each signal, annotation signals included; the texts
    are as MNE has them, which may end in NULs.
    """

    path: Path
    declared: str
    record_seconds: float
    header_bytes: int
    labels: tuple[str, ...]
    units: tuple[str, ...]
    samples: tuple[int, ...]

    @property
    def annotation_signals(self) -> tuple[int, ...]:
        return tuple(index for index, label in enumerate(self.labels) if plain_label(label) in _ANNOTATIONS)

    @property
    def sample_bytes(self) -> int:
        return _SAMPLE_BYTES[self.path.suffix.lower()]

    @property
    def records(self) -> int:
        """The whole records that the file holds, which are the ones that MNE reads."""
        return (self.path.stat().st_size - self.header_bytes) // (sum(self.samples) * self.sample_bytes)

    def rate_hz(self, signal: int) -> float:
        return self.samples[signal] / self.record_seconds

    def bytes_of(self, signal: int) -> UInt8[np.ndarray, "records bytes"]:
        """Returns what all records hold of one signal; nothing else is read from the disk."""
        edges = np.cumsum((0, *self.samples)) * self.sample_bytes
        shape = (self.records, int(edges[-1]))
        every = np.memmap(self.path, np.uint8, "r", offset=self.header_bytes, shape=shape)
        return np.array(every[:, edges[signal] : edges[signal + 1]])


def read_edf_header(path: Path) -> EdfHeader:
    """Reads the header of an EDF or BDF file.

    Raises InputError for a file that is no EDF/BDF, holds annotations alone, has records without a length, or is
    shorter than its header says.
    """
    kind = path.suffix[1:].upper()
    with path.open("rb") as file:
        fixed = file.read(_FIXED_BYTES)
        try:
            header_bytes, records, signals = (
                int(_field(fixed, 184)),
                int(_field(fixed, 236)),
                int(_field(fixed, 252, 4)),
            )
            record_seconds = float(_field(fixed, 244))
            described = file.read(max(signals, 0) * _SIGNAL_BYTES)
            if signals < 1 or len(described) < signals * _SIGNAL_BYTES:
                raise ValueError(f"{signals} signals are not described")
            labels, units = (_texts(described, signals, *place) for place in (_LABEL, _UNIT))
            samples = [int(_field(described, signals * _SAMPLES + 8 * signal)) for signal in range(signals)]
        except ValueError as error:
            raise InputError(f"{path} is not an {kind} file: its header cannot be read; check the file.") from error
    header = EdfHeader(
        path, _field(fixed, 192, 44), record_seconds, header_bytes, tuple(labels), tuple(units), tuple(samples)
    )
    _check(header, kind, records)
    return header


def plain_label(label: str) -> str:
    """Returns a signal's label in lower case, without the NULs that some recorders pad it with."""
    return label.split("\0")[0].strip().lower()


def _check(header: EdfHeader, kind: str, records: int) -> None:
    path, signals = header.path, len(header.labels)
    if signals == len(header.annotation_signals):
        raise InputError(f"{path} holds annotations alone, no signal: give the recording that they belong to.")
    if (
        header.header_bytes != _FIXED_BYTES + signals * _SIGNAL_BYTES
        or min(header.samples) < 0
        or not sum(header.samples)
    ):
        raise InputError(f"{path} is not an {kind} file: its header contradicts itself; check the file.")
    if not 0 < header.record_seconds < math.inf:
        raise InputError(
            f"{path} says that its records last {header.record_seconds:g} s, so its sampling rate is unknown: "
            "obtain or export it with the right header."
        )
    fastest = max(map(header.rate_hz, range(signals)))
    if fastest > HIGHEST_RATE_HZ:
        raise InputError(
            f"{path} says that each of its {records} records lasts {header.record_seconds:g} s, so that it has "
            f"{fastest:g} samples a second, more than any EEG ({HIGHEST_RATE_HZ:g}): export it with the right header."
        )
    record_bytes = sum(header.samples) * header.sample_bytes
    size = path.stat().st_size
    # -1 records: the recorder was not stopped properly; the file's length is then all that is known.
    expected = header.header_bytes + max(records, 0) * record_bytes
    if size < expected:
        raise InputError(
            f"{path} is truncated: its header promises {records} records ({expected} bytes), "
            f"the file holds {max(header.records, 0)} ({size} bytes); obtain the whole file."
        )
    if header.records == 0:
        raise InputError(f"{path} holds no samples: check the file.")


def _field(content: bytes, offset: int, size: int = 8) -> str:
    """Returns a field of the header up to the first NUL, as MNE takes numbers."""
    return content[offset : offset + size].decode("latin-1").split("\0")[0].strip()


def _texts(content: bytes, signals: int, offset: int, size: int) -> list[str]:
    start = signals * offset
    return [content[start + size * i : start + size * (i + 1)].strip().decode("latin-1") for i in range(signals)]
