"""How much EEG a run goes through: from corpora, or from hours and a montage where there are none yet."""

from dataclasses import dataclass

import numpy as np

from labram_jax.config import DataConfig
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.packing import batches_per_epoch
from labram_jax.errors import InputError


@dataclass(frozen=True)
class Windows:
    """What the rows will hold where no corpus says so."""

    hours: float | None = None
    """Hours of recordings to train on; leave it out where the configuration names corpora."""
    electrodes: int = 64
    """Electrodes of a window."""
    seconds: int = 4
    """Seconds of a window."""
    stride_seconds: float | None = None
    """From the start of one window to the next; by default windows do not overlap."""

    def __post_init__(self):
        for name in ("hours", "stride_seconds", "electrodes", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"--{name.replace('_', '-')} {value} must be positive.")


@dataclass(frozen=True)
class Workload:
    """What one row holds, on average, and what one epoch goes through.

    Attributes:
        windows_per_row: windows in one row.
        seconds_per_window: length of a window.
        padding: share of patch slots that stay empty.
        windows: training windows; None where nobody said how many.
    """

    windows_per_row: float
    seconds_per_window: float
    padding: float
    windows: float | None

    def steps_per_epoch(self, batch_rows: int) -> int | None:
        """Batches of one epoch, as training counts them."""
        if self.windows is None:
            return None
        return batches_per_epoch(self.windows, self.windows_per_row, batch_rows)


def workload_of(data: DataConfig, windows: Windows, seed: int = 0) -> Workload:
    """From `windows.hours` if given, else from the corpora if the configuration names any."""
    if data.corpora and windows.hours is None:
        return _from_corpora(data, seed)
    patches = windows.electrodes * windows.seconds
    if patches > data.patch_slots:
        raise InputError(
            f"A window of {windows.electrodes} electrodes x {windows.seconds} s has {patches} patches, but a row has "
            f"{data.patch_slots} patch slots: raise data.patch_slots, or give --electrodes and --seconds of less."
        )
    per_row = min(data.segments, data.patch_slots // patches)
    stride = windows.stride_seconds or windows.seconds
    count = None if windows.hours is None else windows.hours * 3600 / stride
    return Workload(per_row, windows.seconds, 1 - per_row * patches / data.patch_slots, count)


def _from_corpora(data: DataConfig, seed: int) -> Workload:
    corpora = [Corpus.open(path) for path in data.corpora]
    shape = {"patch_slots": data.patch_slots, "segments": data.segments}
    rows = pipeline.training_rows(corpora, split=data.train_split, weights=data.weights, seed=seed, **shape)
    seconds = [
        configuration.patches_per_electrode
        for corpus in corpora
        for configuration in corpus.configurations
        if configuration.splits.get(data.train_split)
    ]
    windows = sum(corpus.windows(data.train_split) for corpus in corpora)
    return Workload(rows.windows_per_row, float(np.average(seconds, weights=rows.counts)), rows.padding, windows)
