"""The batches of a run: which windows its configuration asks for, and this process's rows of them."""

import copy
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from labram_jax.config import DataConfig
from labram_jax.data import pipeline
from labram_jax.data.codes import KeptCodes, find_codes, window_shapes
from labram_jax.data.corpus import Corpus
from labram_jax.data.packing import TrainingRows, batches_per_epoch
from labram_jax.data.splits import check_subjects, with_splits
from labram_jax.data.views import SplitWindows, labelled
from labram_jax.errors import InputError

# Share of the patch slots from which on a run says how to waste less.
_MUCH_PADDING = 0.05


def open_corpora(data: DataConfig) -> list[Corpus]:
    if not data.corpora:
        raise InputError("The configuration names no corpus: give --data.corpora DIRECTORY [DIRECTORY ...].")
    corpora = [Corpus.open(path) for path in data.corpora]
    check_subjects(data, corpora)
    return [with_splits(data, corpus) for corpus in corpora]


def windows_of(data: DataConfig, corpora: Sequence[Corpus], split: str) -> list[SplitWindows]:
    """The windows of each corpus in a split, at the length and stride that the configuration asks for."""
    return [corpus.windows(split, data.window_seconds, data.stride_seconds) for corpus in corpora]


def codes_for(
    data: DataConfig, corpora: Sequence[Corpus], tokenizer: str, dtype: str
) -> tuple[list[KeptCodes], str | None]:
    """The codes of the tokenizer of this digest beside every corpus; none, and the reason, where one lacks them."""
    if data.resplits:
        return [], "codes are kept of the corpora's own splits, and the configuration makes others"
    kept = []
    for corpus in corpora:
        shapes = window_shapes(corpus, data.window_seconds, data.stride_seconds)
        found, reason = find_codes(corpus, tokenizer, dtype, shapes)
        if found is None:
            return [], reason
        kept.append(found)
    return kept, None


def evaluation_rows(data: DataConfig, windows: Sequence[SplitWindows], devices: int) -> DataConfig:
    """`data` with rows that hold the longest window and as many short ones as go in, at least 16 over all devices."""
    lengths = [montage.patches for own in windows for montage in own.montages]
    slots = max(256, max(lengths))
    return dataclasses.replace(
        data,
        batch_rows=-(-16 // devices) * devices,
        patch_slots=slots,
        segments=max(1, slots // min(lengths)),
    )


def _occupancy(rows: TrainingRows) -> str:
    """What a user should know of how full the rows are."""
    windows = f"rows of {rows.patch_slots} patch slots hold {rows.windows_per_row:.2f} windows"
    note = f"{windows}, and {rows.padding:.1%} of the slots are padding"
    tighter = rows.tighter() if rows.padding > _MUCH_PADDING else None
    if tighter is None:
        return note
    shape = f"data.patch_slots {tighter.patch_slots} with data.segments {tighter.segments}"
    return f"{note}: {shape} would leave {tighter.padding:.1%}"


def _counts(windows: Sequence[SplitWindows], data: DataConfig) -> str:
    """What a user should know of which windows there are, and which were left out."""
    lengths = sorted({montage.seconds for own in windows for montage in own.montages})
    length = " or ".join(f"{seconds} s" for seconds in lengths)
    stride = "" if data.stride_seconds is None else f" every {data.stride_seconds:g} s"
    dropped = sum((own.dropped for own in windows), Counter())
    causes = "; ".join(f"{reason} {count:,}" for reason, count in dropped.most_common())
    left_out = f"; left out: {causes}" if causes else ""
    return f"{sum(map(len, windows)):,} training windows of {length}{stride}{left_out}"


class BatchReader:
    """This process's rows of the batches of a run's splits; training batch n is a function of (seed, n) alone.

    `masked`: with masks. `balanced`: training draws the classes of each corpus equally often.
    """

    def __init__(
        self,
        data: DataConfig,
        corpora: list[Corpus],
        seed: int,
        masked: bool,
        rows: Sequence[int],
        balanced: bool = False,
    ):
        self.data, self.corpora = data, corpora
        self.codes: Sequence[KeptCodes] = ()
        self.windows = windows_of(data, corpora, data.train_split)
        if balanced:
            self.windows = [own.by_class() for own in self.windows]
        shape = {"patch_slots": data.patch_slots, "segments": data.segments}
        self.options = {**shape, "batch_rows": data.batch_rows, "seed": seed, "masked": masked, "rows": rows}
        self.options |= {"damaged_share": data.damaged_share}
        self._packed = packed = pipeline.training_rows(self.windows, weights=data.weights, seed=seed, **shape)
        self.counts, self.occupancy = _counts(self.windows, data), _occupancy(packed)
        seconds = [montage.seconds for own in self.windows for montage in own.montages]
        per_window = float(np.average(seconds, weights=packed.counts))
        # Of recordings, all electrodes at once, in the rows of a batch on average.
        self.eeg_seconds_per_step = data.batch_rows * packed.windows_per_row * per_window
        self.steps_per_epoch = batches_per_epoch(sum(map(len, self.windows)), packed.windows_per_row, data.batch_rows)

    def with_codes(self, codes: Sequence[KeptCodes]) -> "BatchReader":
        """The same batches, which bring the codes of their patches along; `codes` are those of each corpus."""
        reader = copy.copy(self)
        reader.codes, reader.windows = codes, _attached(codes, self.windows)
        return reader

    def training(self, start_step: int) -> Iterator[pipeline.Batch]:
        data = self.data
        batches = pipeline.training(self.windows, weights=data.weights, **self.options)
        return pipeline.batches(batches, start_step, data.threads, data.prefetch, data.workers)

    def windows_of_step(self, step: int) -> list[dict]:
        """Corpus, recording and start (seconds) of all windows in the global batch of a step of training."""
        montages = [(own, montage) for own in self.windows for montage in own.montages]
        rows = range(step * self.data.batch_rows, (step + 1) * self.data.batch_rows)
        found = []
        for placement in (placement for row in rows for placement in self._packed[row]):
            own, montage = montages[placement.source]
            recording, start = montage.name(placement.window)
            found.append({"corpus": str(own.corpus.path), "recording": recording, "start_seconds": start})
        return found

    @property
    def within_subjects(self) -> list[str]:
        """What to tell of splits that share subjects with training."""
        train = self.data.train_split
        others = {self.data.validation_split, self.data.test_split} - {"", train}
        return [
            f"scores of {corpus.told(split, train)}"
            for corpus in self.corpora
            for split in sorted(others, reverse=True)
            if corpus.subjects(split) & corpus.subjects(train)
        ]

    def labels(self, name: str) -> np.ndarray | None:
        """Labels of the windows of a split that have one; None where it is not asked for or no corpus has it.

        Raises InputError where it has windows and none has a label.
        """
        windows = windows_of(self.data, self.corpora, name) if name else []
        if not any(map(len, windows)):
            return None
        labels = np.concatenate([own.labels() for own in windows if len(own)])
        known = labelled(labels)
        if not known.any():
            raise InputError(
                f"No window of the split {name!r} has a label, so that nothing can be scored on it: give its spans "
                "labels, or train without it (an empty data.validation_split, data.test_split)."
            )
        return labels[known]

    def split(self, name: str) -> Callable[[], Iterator[pipeline.Batch]] | None:
        """One pass over a split; None where it is not asked for or no corpus has it."""
        windows = windows_of(self.data, self.corpora, name) if name else []
        if not any(map(len, windows)):
            return None
        dataset = pipeline.evaluation(_attached(self.codes, windows), **self.options)
        return lambda: pipeline.batches(dataset, 0, self.data.threads, self.data.prefetch)


def _attached(codes: Sequence[KeptCodes], windows: Sequence[SplitWindows]) -> Sequence[SplitWindows]:
    """The windows of each corpus with their codes, if there are codes."""
    return [kept.attach(own) for kept, own in zip(codes, windows, strict=True)] if codes else windows
