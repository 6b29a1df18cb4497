"""Batches of packed rows, for training and for evaluation; each is a pure function of (seed, step).

A batch is a dict of NumPy arrays (B rows of L patch slots and at most S windows; T = 200):

    patches        float32 [B, L, T]  units of 100 microvolts; zero in padding, as all of the following
    electrode_ids  int32 [B, L]       row of the electrode embedding
    time_ids       int32 [B, L]       row of the time embedding
    segment_ids    int32 [B, L]       1..S, the place of the patch's window in its row; 0 = padding
    mask           bool [B, L]        True = hidden from masked modelling (only where masks are asked for)
    labels         int32 [B, S]       class index, -1 where there is no window or no label;
                   or float32 [B, S, outputs], NaN there, if every corpus has vectors of one length
    window_ids     int32 [B, S]       number of the window in its corpus and split, configuration by
                                      configuration; -1 where there is no window
    corpus_ids     int32 [B, S]       position of the window's corpus among those given; -1 likewise
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grain
import numpy as np
from absl import flags

from labram_jax.data import masking, stream
from labram_jax.data.corpus import Corpus, WindowSource
from labram_jax.data.packing import EvaluationRows, Placement, TrainingRows
from labram_jax.data.schema import NO_CLASS, SAMPLES
from labram_jax.errors import InputError

Batch = dict[str, np.ndarray]

# Training never ends by itself; this many steps are more than any job takes.
_ENDLESS = 2**48

# Beside the seed, this keeps the masks' random numbers apart from those of `packing`.
_MASK = 2


@dataclass(frozen=True)
class Source:
    """One configuration of one corpus in one split; `first` is the window id of its first window."""

    corpus: int
    windows: WindowSource
    addresses: stream.Addresses
    first: int

    @property
    def patches(self) -> int:
        """Patches of one window."""
        return len(self.addresses.time_ids)


def training_rows(
    corpora: Sequence[Corpus],
    *,
    split: str = "train",
    weights: Sequence[float] = (),
    patch_slots: int,
    segments: int,
    seed: int,
) -> TrainingRows:
    """Returns the rows that `training` with the same arguments goes through; they know their padding share.

    `weights` is each corpus' share of the windows drawn, of any sum; empty means in proportion to its windows.
    Raises InputError for a corpus without windows in the split and for windows longer than a row.
    """
    return _training_rows(corpora, _sources(corpora, split, patch_slots), split, weights, patch_slots, segments, seed)


def training(
    corpora: Sequence[Corpus],
    *,
    split: str = "train",
    weights: Sequence[float] = (),
    batch_rows: int,
    patch_slots: int,
    segments: int,
    seed: int,
    masked: bool = False,
    rows: Sequence[int] | None = None,
) -> grain.MapDataset:
    """Returns the endless dataset of training batches: element n is the batch of step n.

    `batch_rows` counts the rows of the global batch; `rows` are the numbers of those that are read here, in a job of
    several hosts (None: all). `weights` and errors: see `training_rows`.
    """
    sources = _sources(corpora, split, patch_slots)
    packed = _training_rows(corpora, sources, split, weights, patch_slots, segments, seed)
    assemble = _Assembler(corpora, sources, patch_slots, segments, seed if masked else None)
    numbers = _numbers(batch_rows, rows)
    return grain.MapDataset.range(_ENDLESS).map(
        lambda step: assemble([(index, packed[index]) for index in numbers(step)])
    )


def evaluation(
    corpora: Sequence[Corpus],
    *,
    split: str,
    batch_rows: int,
    patch_slots: int,
    segments: int,
    seed: int = 0,
    masked: bool = False,
    rows: Sequence[int] | None = None,
) -> grain.MapDataset:
    """Returns the dataset of batches that holds every window of a split once, in order; the last is padded.

    Corpora without windows in the split are passed over, unless all are (InputError). All hosts get the same
    number of batches. `rows`: see `training`. `seed` matters to masks alone, which stay the same at every evaluation.
    """
    sources = _sources(corpora, split, patch_slots)
    windows = [len(entry.windows) for entry in sources]
    packed = EvaluationRows([entry.patches for entry in sources], windows, patch_slots, segments)
    assemble = _Assembler(corpora, sources, patch_slots, segments, seed if masked else None)
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
    """Fills the arrays of a batch from its rows' placements; windows are decoded straight into their slots."""

    def __init__(
        self,
        corpora: Sequence[Corpus],
        sources: Sequence[Source],
        patch_slots: int,
        segments: int,
        mask_seed: int | None,
    ):
        self._sources, self._slots, self._segments, self._mask_seed = sources, patch_slots, segments, mask_seed
        self._outputs = _vector_outputs(corpora)
        self._classes = [corpus.info.label == "class" for corpus in corpora]

    def __call__(self, rows: Sequence[tuple[int, tuple[Placement, ...]]]) -> Batch:
        batch = self._empty(len(rows))
        for number, (index, placements) in enumerate(rows):
            arrays = {name: array[number] for name, array in batch.items()}
            generator = None if self._mask_seed is None else np.random.default_rng((self._mask_seed, _MASK, index))
            for segment, placement in enumerate(placements):
                self._place(arrays, segment, placement, generator)
        return batch

    def _empty(self, rows: int) -> Batch:
        slots, places = (rows, self._slots), (rows, self._segments)
        batch = {
            "patches": np.zeros((*slots, SAMPLES), np.float32),
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
        return batch

    def _place(self, row: Batch, segment: int, placement: Placement, generator: np.random.Generator | None) -> None:
        entry = self._sources[placement.source]
        window = entry.windows[placement.window]
        slots = slice(placement.slot, placement.slot + entry.patches)
        stream.patches(window.eeg, out=row["patches"][slots])
        row["electrode_ids"][slots] = entry.addresses.electrode_ids
        row["time_ids"][slots] = entry.addresses.time_ids
        row["segment_ids"][slots] = segment + 1
        row["window_ids"][segment] = entry.first + placement.window
        row["corpus_ids"][segment] = entry.corpus
        if self._outputs is not None or self._classes[entry.corpus]:
            row["labels"][segment] = window.label
        if generator is not None:
            row["mask"][slots] = masking.draw(generator, entry.patches)


def _sources(corpora: Sequence[Corpus], split: str, patch_slots: int) -> list[Source]:
    sources = []
    for number, corpus in enumerate(corpora):
        first = 0
        for configuration in corpus.configurations:
            windows = configuration.splits.get(split, 0)
            if not windows:
                continue
            if configuration.patches > patch_slots:
                raise InputError(
                    f"The windows of {corpus.path / configuration.name} have {len(configuration.electrodes)} "
                    f"electrodes x {configuration.patches_per_electrode} s, so a row needs at least "
                    f"{configuration.patches} patch slots instead of {patch_slots}: raise data.patch_slots, or "
                    "prepare the corpus with shorter windows."
                )
            sources.append(
                Source(
                    corpus=number,
                    windows=corpus.source(configuration.name, split),
                    addresses=stream.addresses(configuration.electrodes, configuration.patches_per_electrode),
                    first=first,
                )
            )
            first += windows
    if not sources:
        names = ", ".join(str(corpus.path) for corpus in corpora) or "no corpus at all"
        raise InputError(f"There are no windows in the split {split!r} of {names}: see `labram-jax inspect`.")
    return sources


def _training_rows(
    corpora: Sequence[Corpus],
    sources: Sequence[Source],
    split: str,
    weights: Sequence[float],
    patch_slots: int,
    segments: int,
    seed: int,
) -> TrainingRows:
    sizes = [corpus.windows(split) for corpus in corpora]
    for corpus, size in zip(corpora, sizes, strict=True):
        if not size:
            raise InputError(f"The corpus {corpus.path} has no windows in the split {split!r}: leave it out.")
    if weights and len(weights) != len(corpora):
        raise InputError(f"There are {len(weights)} weights for {len(corpora)} corpora: give one each, or none.")
    weights = weights or sizes
    windows = [len(entry.windows) for entry in sources]
    shares = [
        weights[entry.corpus] * count / sizes[entry.corpus] for entry, count in zip(sources, windows, strict=True)
    ]
    return TrainingRows([entry.patches for entry in sources], windows, shares, patch_slots, segments, seed)


def _numbers(batch_rows: int, rows: Sequence[int] | None) -> Callable[[int], list[int]]:
    """Returns the function from a step to the numbers, among all rows ever, of those to read of its batch."""
    own = range(batch_rows) if rows is None else [int(row) for row in rows]
    return lambda step: [step * batch_rows + row for row in own]


def _vector_outputs(corpora: Sequence[Corpus]) -> int | None:
    """Returns the length of the label vectors if every corpus has such vectors of one length, otherwise None."""
    if any(corpus.info.label != "vector" for corpus in corpora):
        return None
    outputs = {corpus.info.outputs for corpus in corpora}
    return outputs.pop() if len(outputs) == 1 else None
