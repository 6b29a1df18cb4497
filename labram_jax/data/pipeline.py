"""Batches of packed rows, for training and for evaluation; each is a pure function of (seed, step).

A batch is a dict of NumPy arrays (B rows of L patch slots and at most S windows; T = 200):

    microvolts     float16 or float32 [B, L, T], as stored; zero in padding, as all of the following
    electrode_ids  int32 [B, L]       row of the electrode embedding
    time_ids       int32 [B, L]       row of the time embedding
    segment_ids    int32 [B, L]       1..S, the place of the patch's window in its row; 0 = padding
    mask           bool [B, L]        True = hidden from masked modelling (only where masks are asked for)
    codes          int32 [B, L]       by a frozen tokenizer (only where the codes of all windows are kept)
    labels         int32 [B, S]       class index, -1 where there is no window or no label;
                   or float32 [B, S, outputs], NaN there, if every corpus has vectors of one length
    window_ids     int32 [B, S]       number of the window in its corpus and split, montage by montage; -1 where there
                                      is no window
    corpus_ids     int32 [B, S]       position of the window's corpus among those given; -1 likewise

Bad electrodes of a window take no slot: its patches are those of its good electrodes, one behind the other.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grain
import numpy as np
from absl import flags

from labram_jax.data import masking, stream
from labram_jax.data.damage import Reading, WholeWindows
from labram_jax.data.packing import EvaluationRows, Placement, TrainingRows
from labram_jax.data.schema import NO_CLASS, SAMPLES, CorpusInfo
from labram_jax.data.signal import FILES_AT_A_TIME, Stretch
from labram_jax.data.views import MontageWindows, SplitWindows
from labram_jax.errors import InputError

Batch = dict[str, np.ndarray]

# Training never ends by itself; this many steps are more than any job takes.
_ENDLESS = 2**48

# Beside the seed, this keeps the masks' random numbers apart from those of `packing`.
_MASK = 2


@dataclass(frozen=True)
class Source:
    """One montage of one corpus in one split; `first` is the window id of its first window."""

    corpus: int
    windows: MontageWindows
    addresses: stream.Addresses
    first: int

    @property
    def patches(self) -> int:
        """Patches of a window without bad electrodes."""
        return len(self.addresses.time_ids)


def training_rows(
    windows: Sequence[SplitWindows], *, weights: Sequence[float] = (), patch_slots: int, segments: int, seed: int
) -> TrainingRows:
    """Returns the rows that `training` with the same arguments goes through; they know their padding share.

    `weights` is each corpus' share of the windows drawn, of any sum; empty means in proportion to its windows.
    Raises InputError for a corpus without windows and for windows longer than a row.
    """
    return _training_rows(windows, _sources(windows, patch_slots), weights, patch_slots, segments, seed)


def training(
    windows: Sequence[SplitWindows],
    *,
    weights: Sequence[float] = (),
    batch_rows: int,
    patch_slots: int,
    segments: int,
    seed: int,
    masked: bool = False,
    rows: Sequence[int] | None = None,
    damaged_share: float = 0.0,
) -> grain.MapDataset:
    """Returns the endless dataset of training batches: element n is the batch of step n.

    `windows` are the training windows of each corpus. `batch_rows` counts the rows of the global batch; `rows` are the
    numbers of those that are read here, in a job of several hosts (None: all). Of the windows the share `damaged_share`
    may be damaged on disk: they are left out, as if their rows had fewer. `weights` and errors: see `training_rows`;
    DamageError where more is damaged.
    """
    sources = _sources(windows, patch_slots)
    packed = _training_rows(windows, sources, weights, patch_slots, segments, seed)
    assemble = _Assembler(windows, sources, patch_slots, segments, seed if masked else None, damaged_share)
    numbers = _numbers(batch_rows, rows)
    return grain.MapDataset.range(_ENDLESS).map(
        lambda step: assemble([(index, packed[index]) for index in numbers(step)])
    )


def evaluation(
    windows: Sequence[SplitWindows],
    *,
    batch_rows: int,
    patch_slots: int,
    segments: int,
    seed: int = 0,
    masked: bool = False,
    rows: Sequence[int] | None = None,
    damaged_share: float = 0.0,
) -> grain.MapDataset:
    """Returns the dataset of batches that holds every window once, in order; the last is padded.

    Corpora without windows are passed over, unless all are (InputError). All hosts get the same number of batches.
    `rows`, `damaged_share`: see `training`. `seed` matters to masks alone, which stay the same at every evaluation.
    """
    sources = _sources(windows, patch_slots)
    counts = [len(entry.windows) for entry in sources]
    packed = EvaluationRows([entry.patches for entry in sources], counts, patch_slots, segments)
    assemble = _Assembler(windows, sources, patch_slots, segments, seed if masked else None, damaged_share)
    numbers = _numbers(batch_rows, rows)
    return grain.MapDataset.range(-(-len(packed) // batch_rows)).map(
        lambda step: assemble([(index, packed[index] if index < len(packed) else ()) for index in numbers(step)])
    )


def batches(
    dataset: grain.MapDataset, start_step: int = 0, threads: int = 4, prefetch: int = 4, workers: int = 0
) -> Iterator[Batch]:
    """Iterates over `dataset` from `start_step` on, in order, while up to `prefetch` batches are prepared ahead.

    `threads` of this process prepare them, which share one core's worth of Python, or as many processes as `workers`
    says, each up to `prefetch` batches ahead; these import this package anew, which takes seconds.
    """
    threads = 0 if workers else min(threads, prefetch)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    ahead = dataset[start_step:].to_iter_dataset(options)
    if workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain asks them whether to profile its workers
        processes = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
        ahead = ahead.mp_prefetch(processes, worker_init_fn=_follow_parent)
    return iter(ahead)


def _follow_parent(worker: int, workers: int) -> None:
    """Makes a worker process end with the one that trains, however that ends, and not before."""
    del worker, workers
    for number in (signal.SIGTERM, signal.SIGINT):  # they go to all processes of a job, and only that one may act
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_after(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)


class _Assembler:
    """Fills the arrays of a batch from its rows' placements; signal is read straight into its slots."""

    def __init__(
        self,
        windows: Sequence[SplitWindows],
        sources: Sequence[Source],
        patch_slots: int,
        segments: int,
        mask_seed: int | None,
        damaged_share: float,
    ):
        self._whole = WholeWindows(windows, damaged_share)
        self._sources, self._slots, self._segments, self._mask_seed = sources, patch_slots, segments, mask_seed
        infos = [own.corpus.info for own in windows]
        self._outputs = _vector_outputs(infos)
        self._classes = [info.label == "class" for info in infos]
        self._coded = all(entry.windows.codes is not None for entry in sources)
        self._dtype = np.result_type(*{entry.windows.signal.dtype for entry in sources})
        self._threads = ThreadPoolExecutor(FILES_AT_A_TIME)

    def __getstate__(self) -> dict:
        # Threads do not travel to another process.
        return {name: value for name, value in self.__dict__.items() if name != "_threads"}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state, _threads=ThreadPoolExecutor(FILES_AT_A_TIME))

    def __call__(self, rows: Sequence[tuple[int, tuple[Placement, ...]]]) -> Batch:
        batch = self._empty(len(rows))
        readings = []
        for number, (index, placements) in enumerate(rows):
            row = {name: array[number] for name, array in batch.items()}
            generator = None if self._mask_seed is None else np.random.default_rng((self._mask_seed, _MASK, index))
            for segment, placement in enumerate(placements):
                stretch = self._place(row, segment, placement, generator)
                windows = self._sources[placement.source].windows
                readings.append(Reading(row, segment, windows, placement.window, stretch))
        self._whole.read(readings, self._empty(1), self._threads)
        return batch

    def _empty(self, rows: int) -> Batch:
        slots, places = (rows, self._slots), (rows, self._segments)
        batch = {
            "microvolts": np.zeros((*slots, SAMPLES), self._dtype),
            "electrode_ids": np.zeros(slots, np.int32),
            "time_ids": np.zeros(slots, np.int32),
            "segment_ids": np.zeros(slots, np.int32),
            "window_ids": np.full(places, -1, np.int32),
            "corpus_ids": np.full(places, -1, np.int32),
        }
        if self._outputs is None:
            batch["labels"] = np.full(places, NO_CLASS, np.int32)
        else:
            batch["labels"] = np.full((*places, self._outputs), np.nan, np.float32)
        if self._mask_seed is not None:
            batch["mask"] = np.zeros(slots, bool)
        if self._coded:
            batch["codes"] = np.zeros(slots, np.int32)
        return batch

    def _place(self, row: Batch, segment: int, placement: Placement, generator: np.random.Generator | None) -> Stretch:
        """Fills in all of a window but its signal, and returns what to read of that."""
        entry = self._sources[placement.source]
        windows, address = entry.windows, entry.addresses
        place = windows.index.place(placement.window)
        bad = windows.index.bad(place)
        good = None if bad is None else ~bad
        if good is not None:
            address = address.of(good)
        slots = slice(placement.slot, placement.slot + len(address.time_ids))
        row["electrode_ids"][slots] = address.electrode_ids
        row["time_ids"][slots] = address.time_ids
        row["segment_ids"][slots] = segment + 1
        row["window_ids"][segment] = entry.first + placement.window
        row["corpus_ids"][segment] = entry.corpus
        if self._outputs is not None or self._classes[entry.corpus]:
            row["labels"][segment] = windows.label(place)
        if generator is not None:
            row["mask"][slots] = masking.draw(generator, len(address.time_ids))
        if self._coded:
            codes = windows.codes[placement.window]
            row["codes"][slots] = (codes if good is None else codes[good]).reshape(-1)
        # The slots of an electrode follow each other, so that they are its samples in a row.
        return windows.stretch(place, good, row["microvolts"][slots].reshape(-1, windows.index.samples))


def _sources(windows: Sequence[SplitWindows], patch_slots: int) -> list[Source]:
    sources = []
    for number, own in enumerate(windows):
        first = 0
        for montage in own.montages:
            if montage.patches > patch_slots:
                raise InputError(
                    f"The windows of {montage.directory} have {len(montage.electrodes)} electrodes x "
                    f"{montage.seconds} s, so a row needs at least {montage.patches} patch slots instead of "
                    f"{patch_slots}: raise data.patch_slots, or lower data.window_seconds."
                )
            addresses = stream.addresses(montage.electrodes, montage.seconds)
            sources.append(Source(number, montage, addresses, first))
            first += len(montage)
    if not sources:
        raise InputError(
            f"There are no windows in {', '.join(map(_named, windows)) or 'no corpus at all'}: see "
            "`labram-jax inspect`, or ask for shorter windows (data.window_seconds)."
        )
    return sources


def _named(windows: SplitWindows) -> str:
    return f"{windows.corpus.path} ({windows.split})"


def _training_rows(
    windows: Sequence[SplitWindows],
    sources: Sequence[Source],
    weights: Sequence[float],
    patch_slots: int,
    segments: int,
    seed: int,
) -> TrainingRows:
    sizes = [len(own) for own in windows]
    for own in windows:
        if not len(own):
            raise InputError(
                f"There are no windows in {_named(own)}: leave the corpus out, or ask for shorter windows "
                "(data.window_seconds)."
            )
    if weights and len(weights) != len(windows):
        raise InputError(f"There are {len(weights)} weights for {len(windows)} corpora: give one each, or none.")
    weights = weights or sizes
    counts = [len(entry.windows) for entry in sources]
    drawn = np.array([entry.windows.drawn * count for entry, count in zip(sources, counts, strict=True)])
    corpora = np.array([entry.corpus for entry in sources])
    shares = np.asarray(weights)[corpora] * drawn / np.bincount(corpora, drawn)[corpora]
    return TrainingRows([entry.patches for entry in sources], counts, shares, patch_slots, segments, seed)


def _numbers(batch_rows: int, rows: Sequence[int] | None) -> Callable[[int], list[int]]:
    """Returns the function from a step to the numbers, among all rows ever, of those to read of its batch."""
    own = range(batch_rows) if rows is None else [int(row) for row in rows]
    return lambda step: [step * batch_rows + row for row in own]


def _vector_outputs(infos: Sequence[CorpusInfo]) -> int | None:
    """Returns the length of the label vectors if every corpus has such vectors of one length, otherwise None."""
    if any(info.label != "vector" for info in infos):
        return None
    outputs = {info.outputs for info in infos}
    return outputs.pop() if len(outputs) == 1 else None
