"""Which windows share a row: pure functions of (seed, row index), for training and for evaluation.

A source is one montage of one corpus in one split: all of its windows have the same number of patches, but for bad
electrodes, whose slots stay empty at the end of a window.
"""

import functools
import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from labram_jax.data.permutation import Permutation

# Windows in one cycle of training rows: enough that each source's share is met to 1/4096 of all windows.
CYCLE_WINDOWS = 4096

# Beside the seed, these keep the random orders of rows and of windows apart.
_CYCLE, _EPOCH = 0, 1


class Placement(NamedTuple):
    """One window in a row: which source's, which of the source's windows, and its first patch slot."""

    source: int
    window: int
    slot: int


class TrainingRows:
    """An endless sequence of rows that mixes sources by share and visits each source's windows epoch by epoch.

    The windows' lengths (without bad electrodes) are known beforehand, so their places need no look ahead.
    `CYCLE_WINDOWS` windows, split over the sources by `shares`, are packed once into `templates` (see `pack`). Each
    cycle through the templates takes them in another order, and its rows draw the next windows of every source's
    endlessly reshuffled sequence, whose order is a cipher of the window's number: no list of windows is held. Row
    `index` therefore follows from (seed, index) alone: it can be computed anywhere, by any number of hosts.

    lengths: patches of a window of each source, at most `patch_slots`.
    windows: number of windows of each source, at least 1.
    shares: each source's part of all windows drawn; positive, of any sum. Each source gets at least one window
      a cycle.
    segments: the most windows in one row.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        windows: Sequence[int],
        shares: Sequence[float],
        patch_slots: int,
        segments: int,
        seed: int,
        cycle_windows: int = CYCLE_WINDOWS,
    ):
        self.lengths, self.windows = tuple(lengths), tuple(windows)
        self.patch_slots, self.segments = patch_slots, segments
        self._arguments = (lengths, windows, shares, patch_slots, segments, seed, cycle_windows)
        self._seed = seed
        self.counts = apportion(shares, cycle_windows)
        self.templates = pack(self.lengths, self.counts, patch_slots, segments)
        self._uses = np.array([np.bincount(row, minlength=len(lengths)) for row in self.templates])
        # Caches, not state: each value follows from its arguments. Of a source's epochs two are in use at its turn.
        self._cycle = functools.lru_cache(maxsize=4)(self._cycle_order)
        self._epoch = functools.lru_cache(maxsize=2 * len(self.lengths))(self._epoch_order)
        self.windows_per_row = float(self.counts.sum() / len(self.templates))

    def __reduce__(self):
        # The caches do not travel to another process.
        return TrainingRows, self._arguments

    @property
    def padding(self) -> float:
        """Share of patch slots that stay empty."""
        filled = int(np.dot(self.counts, self.lengths))
        return 1 - filled / (len(self.templates) * self.patch_slots)

    def tighter(self) -> "TrainingRows | None":
        """Returns the same windows in rows of another shape, the best of a few, if that saves a hundredth of the slots.

        Tried are rows of the longest window, and of one, two and four times the slots; or of eight slots less, since
        eight class tokens then make the row as long as before, and accelerators like powers of two.
        """
        lengths, windows, shares, _, _, *seed = self._arguments
        places = max(8, self.segments)
        shapes = {(max(lengths), self.segments)}
        shapes |= {(times * self.patch_slots - less, places) for times in (1, 2, 4) for less in (0, 8)}
        fitting = sorted(shape for shape in shapes if shape[0] >= max(lengths))
        others = [TrainingRows(lengths, windows, shares, *shape, *seed) for shape in fitting]
        best = min(others, key=lambda rows: rows.padding)
        return best if best.padding < self.padding - 0.01 else None

    def __getitem__(self, index: int) -> tuple[Placement, ...]:
        cycle, number = divmod(index, len(self.templates))
        order, seen = self._cycle(cycle)
        position = cycle * self.counts + seen[number]
        row, slot = [], 0
        for source in self.templates[order[number]]:
            epoch, place = divmod(int(position[source]), self.windows[source])
            row.append(Placement(source, self._epoch(source, epoch)[place], slot))
            position[source] += 1
            slot += self.lengths[source]
        return tuple(row)

    def _cycle_order(self, cycle: int) -> tuple[Int[np.ndarray, "R"], Int[np.ndarray, "R sources"]]:
        """Returns a cycle's order of templates, and how many windows of each source precede each row in it."""
        order = np.random.default_rng((self._seed, _CYCLE, cycle)).permutation(len(self.templates))
        uses = self._uses[order]
        return order, np.cumsum(uses, axis=0) - uses

    def _epoch_order(self, source: int, epoch: int) -> Permutation:
        """Returns a source's windows in the order of one of its epochs."""
        return Permutation(self.windows[source], (self._seed, _EPOCH, source, epoch))


class EvaluationRows:
    """Rows that hold every window of every source exactly once, in order; a row keeps to one source."""

    def __init__(self, lengths: Sequence[int], windows: Sequence[int], patch_slots: int, segments: int):
        self.lengths, self.windows = tuple(lengths), tuple(windows)
        self._per_row = [min(segments, patch_slots // length) for length in lengths]
        rows = [-(-n // per_row) for n, per_row in zip(windows, self._per_row, strict=True)]
        self._first = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> tuple[Placement, ...]:
        source = bisect_right(self._first, index) - 1
        start = int(index - self._first[source]) * self._per_row[source]
        stop = min(start + self._per_row[source], self.windows[source])
        length = self.lengths[source]
        return tuple(Placement(source, window, place * length) for place, window in enumerate(range(start, stop)))


def batches_per_epoch(windows: float, windows_per_row: float, batch_rows: int) -> int:
    """Batches in which about `windows` windows pass by; at least one."""
    return max(1, math.ceil(windows / (windows_per_row * batch_rows)))


def apportion(shares: Sequence[float], total: int) -> Int[np.ndarray, "sources"]:
    """Splits `total` windows over the sources by `shares` (largest remainder), at least one to each source."""
    quotas = np.asarray(shares, dtype=np.float64) / np.sum(shares) * total
    counts = np.floor(quotas).astype(np.int64)
    largest = np.argsort(counts - quotas, kind="stable")[: total - counts.sum()]
    counts[largest] += 1
    return np.maximum(counts, 1)


def pack(lengths: Sequence[int], counts: Sequence[int], patch_slots: int, segments: int) -> tuple[tuple[int, ...], ...]:
    """Packs `counts` windows of each source into few rows; each row lists the sources of its windows.

    Best fit wastes little where slots are scarce. Where places for windows are, it leaves short windows to rows of
    their own; dealing all windows out evenly then needs fewer rows, and the way with the fewest is taken.
    """
    order = sorted(range(len(lengths)), key=lambda source: -lengths[source])
    windows = [source for source in order for _ in range(counts[source])]
    rows = _best_fit(lengths, windows, patch_slots, segments)
    fewest = max(-(-sum(lengths[source] for source in windows) // patch_slots), -(-len(windows) // segments))
    while fewest < len(rows):
        number = (fewest + len(rows)) // 2
        dealt = _deal(lengths, windows, patch_slots, segments, number)
        if dealt is None:
            fewest = number + 1
        else:
            rows = dealt
    return tuple(tuple(row) for row in rows)


def _best_fit(lengths: Sequence[int], windows: Sequence[int], patch_slots: int, segments: int) -> list[list[int]]:
    """Puts each window, longest first, into the open row with the least space that still holds it."""
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (space, row), sorted
    for source in windows:
        fit = bisect_left(open_rows, (lengths[source], 0))
        space, row = open_rows.pop(fit) if fit < len(open_rows) else (patch_slots, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(source)
        if len(rows[row]) < segments:
            insort(open_rows, (space - lengths[source], row))
    return rows


def _deal(
    lengths: Sequence[int], windows: Sequence[int], patch_slots: int, segments: int, number: int
) -> list[list[int]] | None:
    """Puts each window, longest first, into the emptiest of `number` rows; None where one does not fit."""
    rows: list[list[int]] = [[] for _ in range(number)]
    open_rows = [(0, row) for row in range(number)]  # (filled, row), a heap
    for source in windows:
        if not open_rows or open_rows[0][0] + lengths[source] > patch_slots:
            return None
        filled, row = heappop(open_rows)
        rows[row].append(source)
        if len(rows[row]) < segments:
            heappush(open_rows, (filled + lengths[source], row))
    return rows
