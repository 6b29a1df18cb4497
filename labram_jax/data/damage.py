"""Windows whose records are damaged: named, counted, and left out up to a share of all, beyond which reading stops.

Which windows they are is a matter of what is on disk alone, so that batches stay a function of their number.
"""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from labram_jax.data.signal import Signal, Stretch, read_all
from labram_jax.data.views import MontageWindows, SplitWindows
from labram_jax.errors import DamageError

# The arrays of a row that have a place for each window, and not for each slot.
_OF_WINDOWS = ("labels", "window_ids", "corpus_ids")


class Reading(NamedTuple):
    """A window that is put into a row: the row's arrays, its segment there (from 0), which window, what to read."""

    row: dict[str, np.ndarray]
    segment: int
    windows: MontageWindows
    number: int
    stretch: Stretch


class WholeWindows:
    """Reads windows into rows; of `windows`, the share `damaged_share` may be damaged, whose places stay empty."""

    def __init__(self, windows: Sequence[SplitWindows], damaged_share: float):
        self._total, self._share = sum(map(len, windows)), damaged_share
        self._damaged: set[tuple[str, str, float]] = set()  # folder, recording, start of the window
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        # A lock does not travel to another process.
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def read(self, readings: Sequence[Reading], empty: dict[str, np.ndarray], threads: ThreadPoolExecutor) -> None:
        """Fills the stretches of all readings; `empty` is a batch of one row without windows.

        Raises DamageError where more windows are damaged than may be, OSError where the system gives none.
        """
        wanted: dict[int, tuple[Signal, list[Stretch]]] = {}
        for one in readings:
            wanted.setdefault(id(one.windows), (one.windows.signal, []))[1].append(one.stretch)
        try:
            read_all(list(wanted.values()), threads)
        except DamageError:
            for one in readings:
                self._read_alone(one, empty)

    def _read_alone(self, one: Reading, empty: dict[str, np.ndarray]) -> None:
        try:
            one.windows.signal.read([one.stretch])
        except DamageError as error:
            self._count(one, error)
            slots = one.row["segment_ids"] == one.segment + 1
            for name, values in one.row.items():
                values[one.segment if name in _OF_WINDOWS else slots] = empty[name][0, 0]

    def _count(self, one: Reading, error: DamageError) -> None:
        """Names the recording of a damaged window when it is the first one; raises DamageError beyond the share."""
        folder = str(one.windows.directory)
        recording, start = one.windows.name(one.number)
        with self._lock:
            told = any(known[:2] == (folder, recording) for known in self._damaged)
            self._damaged.add((folder, recording, start))
            if len(self._damaged) > self._share * self._total:
                raise DamageError(
                    f"{error.found}, in the recording {recording!r} at {start:g} s: "
                    f"{len(self._damaged)} of {self._total} windows are damaged so far, and data.damaged_share lets "
                    f"{self._share:g} of them be left out",
                    "copy or prepare the corpus again, or raise it",
                ) from error
        if not told:
            print(f"left out: damaged windows of the recording {recording!r} ({error.found})", file=sys.stderr)
