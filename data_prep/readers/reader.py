"""What a recording must say of itself, whatever its format, to be cut into pieces and cleaned."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from labram_jax.errors import InputError

# No amplifier takes more samples a second: a header that says so is wrong, and its filters would fill any memory.
HIGHEST_RATE_HZ = 200_000.0


class Annotation(NamedTuple):
    """Something that the recording says of one of its stretches, in seconds from its first sample."""

    start_seconds: float
    duration_seconds: float
    text: str


@dataclass(frozen=True)
class Header:
    """What is known of a recording before its samples are read.

    `channels` are those declared as EEG; `others` are left out, with reasons. `samples` counts those of one channel at
    `rate_hz`. `pieces` are the continuous stretches [start, stop) in samples, in order, without what lies between
    them. `marked_bad` are the channels that the recording or its sidecar declares bad. `excluded` are annotated
    stretches that no window may touch. `notes` are for people: what the format's reader warned of. `format` names the
    file's format, and `pass_hz` the band that the header says was recorded, where it says so.
    """

    channels: tuple[str, ...]
    rate_hz: float
    samples: int
    pieces: tuple[tuple[int, int], ...]
    others: Mapping[str, str]
    marked_bad: frozenset[str] = frozenset()
    excluded: tuple[Annotation, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    notes: tuple[str, ...] = ()
    format: str = ""
    pass_hz: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        return self.samples / self.rate_hz


class Reader(ABC):
    """A recording whose samples are still on disk."""

    header: Header

    @abstractmethod
    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        """Returns the samples [start, stop) of the named channels in microvolts at the recording's own rate.

        Raises InputError where the file breaks off or cannot be decoded.
        """


class ArrayReader(Reader):
    """A recording in memory, in microvolts: one continuous piece."""

    def __init__(self, eeg: Float64[np.ndarray, "C samples"], channels: Sequence[str], rate_hz: float):
        if eeg.ndim != 2 or len(eeg) != len(channels):
            raise InputError(f"The signal has the shape {eeg.shape} but names {len(channels)} electrodes: name each.")
        self._eeg = eeg
        samples = eeg.shape[1]
        self.header = Header(tuple(channels), float(rate_hz), samples, ((0, samples),), others={})

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        rows = [self.header.channels.index(name) for name in channels]
        return np.asarray(self._eeg[rows, start:stop], dtype=np.float64)
