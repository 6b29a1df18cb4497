"""Windows of any montage and length laid into rows of patch slots, with garbage wherever there is padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from labram_jax.models import PatchBatch


class Window(NamedTuple):
    """The patches of one window with their addresses, and which of them are masked."""

    patches: Float[np.ndarray, "n 200"]
    electrode_ids: Int[np.ndarray, " n"]
    time_ids: Int[np.ndarray, " n"]
    mask: Bool[np.ndarray, " n"]


def make_window(eeg: Float[np.ndarray, "C samples"], electrode_ids: Sequence[int], mask=None) -> Window:
    """A window from a signal that is already divided by 100; by default nothing is masked."""
    seconds = eeg.shape[1] // 200
    count = len(electrode_ids) * seconds
    return Window(
        eeg.reshape(-1, 200),
        np.repeat(np.asarray(electrode_ids, np.int32), seconds),
        np.tile(np.arange(seconds, dtype=np.int32), len(electrode_ids)),
        np.zeros(count, bool) if mask is None else mask,
    )


class Packed(NamedTuple):
    """A batch, and the place of every window in it: (row, slots, segment from 0)."""

    batch: PatchBatch
    places: list[tuple[int, slice, int]]


def pack_rows(
    rows: Sequence[Sequence[Window]], slots: int, segments: int, gap: int = 0, garbage: float = 100.0, seed: int = 0
) -> Packed:
    """Puts windows into rows in the given order, each after `gap` empty slots.

    Padding holds noise of standard deviation `garbage`, random addresses and masks: a leak out of it shows.
    """
    random = np.random.default_rng(seed)
    shape = (len(rows), slots)
    dtype = next(window.patches.dtype for row in rows for window in row)
    patches = (garbage * random.standard_normal((*shape, 200))).astype(dtype)
    electrode_ids = random.integers(0, 129, shape, dtype=np.int32)
    time_ids = random.integers(0, 16, shape, dtype=np.int32)
    mask = random.random(shape) < 0.5
    segment_ids = np.zeros(shape, np.int32)
    places = []
    for number, row in enumerate(rows):
        stop = 0
        for segment, window in enumerate(row):
            start, stop = stop + gap, stop + gap + len(window.patches)
            place = (number, slice(start, stop))
            patches[place], electrode_ids[place], time_ids[place], mask[place] = window
            segment_ids[place] = segment + 1
            places.append((*place, segment))
    batch = PatchBatch(patches, electrode_ids, time_ids, segment_ids, mask=mask, segments=segments)
    return Packed(batch, places)
