"""The samples of a recording's electrodes before they are filtered, read in parts that fit into memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from labram_jax.data_prep.cleaning.channels import Derivation
from labram_jax.data_prep.cleaning.quality import runs, second_deviations, typical_microvolts
from labram_jax.data_prep.readers.reader import Reader

# Samples that are read at once, and those of a recording that is kept: 256 MiB in float64.
BLOCK_SAMPLES = 2**25
# Samples that are filtered at once, which takes ten times their size.
GROUP_SAMPLES = 2**23


class Look(NamedTuple):
    """What a first look at all samples tells.

    `pieces`: continuous stretches [start, stop) of samples in which some electrode is finite at any time. `lowest`,
    `highest`: extremes of each electrode's finite samples. `typical`: typical amplitude in microvolts
    (`quality.typical_microvolts`).
    """

    pieces: tuple[tuple[int, int], ...]
    lowest: Float64[np.ndarray, "C"]
    highest: Float64[np.ndarray, "C"]
    typical: Float64[np.ndarray, "C"]


class Unfiltered:
    """The electrodes `electrodes` of a recording, in this order, in microvolts at its own rate.

    A recording that fits into one block is read once and kept; a longer one is read anew for each group of electrodes.
    """

    def __init__(self, reader: Reader, derivation: Derivation, electrodes: Sequence[str]):
        self._reader, self._channels = reader, derivation.channels
        self._rows = [derivation.electrodes.index(electrode) for electrode in electrodes]
        self._weights = derivation.weights
        self._kept: np.ndarray | None = None

    def look(self, judged: Bool[np.ndarray, "C"]) -> Look:
        """Reads everything once; pieces are cut where all of the `judged` electrodes are lost together."""
        header, count = self._reader.header, len(self._rows)
        if header.samples * max(count, len(self._channels)) <= BLOCK_SAMPLES:
            self._kept = np.zeros((count, header.samples))
        lowest, highest = np.full(count, np.inf), np.full(count, -np.inf)
        deviations, pieces = [np.zeros((count, 0))], []
        for start, stop in header.pieces:
            gone = []
            for begin, end in self._blocks(start, stop):
                eeg = self._read(range(count), begin, end)
                if self._kept is not None:
                    self._kept[:, begin:end] = eeg
                deviations.append(second_deviations(eeg, header.rate_hz))
                finite = np.isfinite(eeg)
                gone.append(~finite[judged].any(axis=0))
                np.minimum(lowest, eeg.min(axis=1, where=finite, initial=np.inf), out=lowest)
                np.maximum(highest, eeg.max(axis=1, where=finite, initial=-np.inf), out=highest)
            present = runs(~np.concatenate(gone)) + start if gone else []
            pieces += [(int(begin), int(end)) for begin, end in present]
        typical = typical_microvolts(np.concatenate(deviations, axis=1))
        return Look(tuple(pieces), lowest, highest, typical)

    def groups(self, samples: int) -> Iterator[range]:
        """Yields groups of electrodes of which `samples` samples each can be filtered together."""
        size = max(GROUP_SAMPLES // max(samples, 1), 1)
        for first in range(0, len(self._rows), size):
            yield range(first, min(first + size, len(self._rows)))

    def read(self, group: range, start: int, stop: int) -> Float64[np.ndarray, "group samples"]:
        """Returns samples of some of the electrodes, by their places in the order."""
        if self._kept is not None:
            return self._kept[group.start : group.stop, start:stop]
        return self._read(group, start, stop)

    def _read(self, group: range, start: int, stop: int) -> Float64[np.ndarray, "group samples"]:
        rows = [self._rows[place] for place in group]
        if self._weights is None:
            return self._reader.microvolts([self._channels[row] for row in rows], start, stop)
        # Interpolated electrodes need all channels, of which little is held at once.
        eeg = np.empty((len(rows), stop - start))
        for begin, end in self._blocks(start, stop):
            with np.errstate(invalid="ignore"):
                channels = self._reader.microvolts(self._channels, begin, end)
                eeg[:, begin - start : end - start] = self._weights[rows] @ channels
        return eeg

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yields consecutive stretches of whole seconds of which all channels together fit into one block."""
        second = max(round(self._reader.header.rate_hz), 1)
        width = max(len(self._rows), len(self._channels), 1)
        step = max(BLOCK_SAMPLES // width // second, 1) * second
        for begin in range(start, stop, step):
            yield begin, min(begin + step, stop)
