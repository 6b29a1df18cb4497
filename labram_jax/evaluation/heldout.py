"""Some windows of a split: those that a run was not trained on, or a sample of those that it was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from labram_jax.adaptation.band_powers import evenly_spread
from labram_jax.config import DataConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import MontageWindows, SplitWindows, Window
from labram_jax.errors import InputError
from labram_jax.progress import Progress

CHUNK = 64  # windows in memory at one time
# Beside the seed, this keeps these random numbers apart from those of the data.
_DRAWN = 17


@dataclass(frozen=True)
class WindowSet:
    """Some windows of one montage, in microvolts; `bad` says which electrodes take no part in each."""

    name: str
    electrodes: tuple[str, ...]
    eeg: Float32[np.ndarray, "N C samples"]
    bad: Bool[np.ndarray, "N C"]


def held_out_windows(data: DataConfig, corpora: Sequence[Corpus]) -> tuple[str, list[SplitWindows]]:
    """Names the split to look at, validation, else test, and returns its windows; InputError where both are empty."""
    for split in (data.validation_split, data.test_split):
        if split and any(map(len, windows := windows_of(data, corpora, split))):
            return split, windows
    raise InputError("The corpora hold no validation or test windows: prepare them with one of these splits.")


def chunks(montage: MontageWindows) -> Iterator[list[Window]]:
    """Yields all windows of a montage, some at a time."""
    for start in range(0, len(montage), CHUNK):
        yield montage.read(range(start, min(start + CHUNK, len(montage))))


def sample(windows: Sequence[SplitWindows], most: int) -> Iterator[WindowSet]:
    """Yields at most `most` evenly spread windows of each montage of each corpus."""
    for own in windows:
        for montage in own.montages:
            found = montage.read(evenly_spread(montage, min(1.0, most / len(montage))))
            name = f"{own.corpus.name}, {montage.directory.name}"
            yield WindowSet(name, montage.electrodes, *_stacked(found))


def drawn(windows: Sequence[SplitWindows], most: int, seed: int) -> Iterator[WindowSet]:
    """Yields `most` windows of some corpora, drawn without replacement, or all if there are no more, in their order.

    A few at a time, so that memory does not grow with their number.
    """
    total = sum(map(len, windows))
    numbers = np.arange(total)
    if total > most:
        numbers = np.sort(np.random.default_rng((seed, _DRAWN)).choice(total, most, replace=False))
    first = 0
    with Progress(f"References ({', '.join({own.split for own in windows})})", len(numbers)) as progress:
        for name, montage in ((own.corpus.name, montage) for own in windows for montage in own.montages):
            of_montage = numbers[(numbers >= first) & (numbers < first + len(montage))] - first
            first += len(montage)
            for start in range(0, len(of_montage), CHUNK):
                found = montage.read(of_montage[start : start + CHUNK].tolist())
                yield WindowSet(f"{name}, {montage.directory.name}", montage.electrodes, *_stacked(found))
                progress.update(len(found))


def _stacked(windows: Sequence[Window]) -> tuple[Float32[np.ndarray, "N C samples"], Bool[np.ndarray, "N C"]]:
    return np.stack([window.eeg for window in windows]), np.stack([window.bad for window in windows])
