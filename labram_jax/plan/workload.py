"""How much EEG a run goes through: from corpora, or from hours and a montage where there are none yet."""

from dataclasses import dataclass

import numpy as np

from labram_jax.config import DataConfig
from labram_jax.data import pipeline
from labram_jax.data.packing import batches_per_epoch
from labram_jax.data.reader import open_corpora, windows_of
from labram_jax.data.windows import default_seconds
from labram_jax.errors import InputError


@dataclass(frozen=True)
class Recordings:
    """What is to be trained on where no corpus says so."""

    hours: float | None = None
    """Hours of recordings to train on; leave it out where the configuration names corpora."""
    electrodes: int = 64
    """Electrodes of the recordings."""

    def __post_init__(self):
        for name in ("hours", "electrodes"):
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


def workload_of(data: DataConfig, recordings: Recordings, seed: int = 0) -> Workload:
    """From `recordings.hours` if given, else from the corpora if the configuration names any."""
    if data.corpora and recordings.hours is None:
        return _from_corpora(data, seed)
    seconds = data.window_seconds or default_seconds(recordings.electrodes)
    patches = recordings.electrodes * seconds
    if patches > data.patch_slots:
        raise InputError(
            f"A window of {recordings.electrodes} electrodes x {seconds} s has {patches} patches, but a row has "
            f"{data.patch_slots} patch slots: raise data.patch_slots, or give less --electrodes or data.window_seconds."
        )
    per_row = min(data.segments, data.patch_slots // patches)
    stride = data.stride_seconds or seconds
    count = None if recordings.hours is None else recordings.hours * 3600 / stride
    return Workload(per_row, seconds, 1 - per_row * patches / data.patch_slots, count)


def _from_corpora(data: DataConfig, seed: int) -> Workload:
    windows = windows_of(data, open_corpora(data), data.train_split)
    shape = {"patch_slots": data.patch_slots, "segments": data.segments}
    rows = pipeline.training_rows(windows, weights=data.weights, seed=seed, **shape)
    seconds = [montage.seconds for own in windows for montage in own.montages]
    count = sum(map(len, windows))
    return Workload(rows.windows_per_row, float(np.average(seconds, weights=rows.counts)), rows.padding, count)
