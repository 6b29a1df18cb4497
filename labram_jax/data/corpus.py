"""Opens prepared corpora: checks what is on disk, and makes windows of it."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from labram_jax.data.remote import local_folder
from labram_jax.data.schema import (
    ADVICE,
    QUALITY_FILE,
    RATE_HZ,
    RECORD_SAMPLES,
    SIGNAL,
    SPLITS,
    CorpusInfo,
    MontageInfo,
    check_features,
    shard_name,
)
from labram_jax.data.signal import Signal
from labram_jax.data.tables import Tables
from labram_jax.data.views import MontageWindows, SplitWindows
from labram_jax.data.windows import WindowIndex, default_seconds
from labram_jax.errors import DamageError, InputError, refusal_in
from labram_jax.montage import electrode_ids


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk. Make it with `Corpus.open`, which checks it; `address` is what was given to it."""

    path: Path
    info: CorpusInfo
    tables: Tables = field(repr=False, compare=False)
    address: str

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """Opens the corpus in folder `path`, or at an address in a bucket, from where it is fetched first.

        Raises InputError for an address that cannot be fetched, a missing folder, a folder that is no corpus, another
        format version, and a montage the model has no electrodes for; DamageError for tables or shards that are
        missing, truncated, not those described, or changed since they were written; OSError for what the system does
        not give.
        """
        folder = local_folder(path)
        info = CorpusInfo.read(folder)
        corpus = cls(folder, info, Tables.read(folder, info), str(path))
        for montage in corpus.info.montages:
            _check(corpus, montage)
        return corpus

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def montages(self) -> tuple[MontageInfo, ...]:
        return self.info.montages

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of their index, or None."""
        return self.info.classes

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that have a span."""
        found = set(self.tables.spans["split"])
        return tuple(split for split in SPLITS if split in found)

    def subjects(self, split: str) -> frozenset[str]:
        """Returns the subjects of a split."""
        return self._named(split, "subject")

    def recordings(self, split: str) -> frozenset[str]:
        """Returns the recordings of which a split has a part."""
        return self._named(split, "recording")

    def _named(self, split: str, column: str) -> frozenset[str]:
        spans = self.tables.spans
        return frozenset(spans.loc[spans["split"] == split, column])

    def told(self, split: str, training: str = "train") -> str:
        """Names a split for whoever reads its scores, which are within subjects where some are in training too."""
        own = self.subjects(split)
        shared = len(own & self.subjects(training)) if split != training else 0
        within = f" (within subjects: {shared} of the {len(own)} of {split} are also in {training})" if shared else ""
        return f"{self.name}, {split}{within}"

    def quality(self, montage: MontageInfo) -> UInt8[np.ndarray, "seconds C"]:
        """Returns the flags of every second of a montage (`schema.QUALITY`), which stay on disk."""
        return np.load(self.path / montage.name / QUALITY_FILE, mmap_mode="r")

    def signal(self, montage: MontageInfo) -> Signal:
        """Returns the records of a montage, which stay on disk."""
        directory = self.path / montage.name
        lengths = tfds.builder_from_directory(directory).info.splits[SIGNAL].shard_lengths
        return Signal(_shards(directory, len(lengths)), lengths, len(montage.electrodes), self.info.dtype)

    def windows(
        self, split: str, seconds: int | None = 4, stride: float | None = None, *, unusable: bool = False
    ) -> SplitWindows:
        """Returns the windows of a split: a sequence (length, index, iteration) of `Window`s.

        Args:
          split: "train", "validation" or "test".
          seconds: length of a window, whole seconds from 1 to 16; None takes that of the corpus' protocol, or for each
            montage that which makes about 256 patches.
          stride: seconds from the start of one window to the next; None is the window's length.
          unusable: also those that training would leave out (`WindowIndex.why_unusable`).

        A corpus without such windows gives an empty sequence. Raises InputError for an unknown split and for a length
        or a stride that cannot be used.
        """
        if split not in SPLITS:
            raise InputError(f"There is no split {split!r}: choose one of {', '.join(SPLITS)}.")
        montages, indices = [], []
        for montage in self.montages:
            length = self.window_seconds(montage) if seconds is None else seconds
            index = WindowIndex(
                montage.name, self.info, self.tables, self.quality(montage), split, length, stride, unusable=unusable
            )
            indices.append(index)
            if len(index):
                directory = self.path / montage.name
                montages.append(MontageWindows(directory, montage.electrodes, self.signal(montage), index))
        return SplitWindows(self, split, montages, indices)

    def window_seconds(self, montage: MontageInfo) -> int:
        """Returns the window length of the corpus' protocol, or that which makes about 256 patches."""
        return self.info.window_seconds or default_seconds(len(montage.electrodes))


def open_corpus(path: str | Path) -> Corpus:
    """Opens a corpus that `labram-jax prepare` made, in a folder or at an address; see `Corpus.open`."""
    return Corpus.open(path)


def _shards(directory: Path, count: int) -> list[Path]:
    return [directory / shard_name(shard, count) for shard in range(count)]


def _check(corpus: Corpus, montage: MontageInfo) -> None:
    """Holds what lies in a montage's folder against what the description and the tables say."""
    directory = corpus.path / montage.name
    try:
        electrode_ids(montage.electrodes)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from error
    try:
        check_features(directory)
        builder = tfds.builder_from_directory(directory)
        info = builder.info.splits[SIGNAL]
        shape = builder.info.features["eeg"].shape
        flags = corpus.quality(montage)
    except InputError:
        raise
    except Exception as error:  # TFDS and NumPy have no one exception for what they cannot open
        if refusal := refusal_in(error):
            raise refusal from error
        raise DamageError(f"{directory} is missing or damaged", ADVICE) from error
    samples = corpus.tables.pieces.loc[corpus.tables.pieces["montage"] == montage.name, "samples"].to_numpy()
    electrodes = len(montage.electrodes)
    expected = (int((-(-samples // RECORD_SAMPLES)).sum()), (electrodes, RECORD_SAMPLES))
    seconds = (int((-(-samples // RATE_HZ)).sum()), electrodes)
    if (info.num_examples, shape, flags.shape, flags.dtype) != (*expected, seconds, np.uint8):
        raise DamageError(
            f"{directory} holds {info.num_examples} records of shape {shape} and flags ({flags.dtype}) of shape "
            f"{flags.shape}, but the corpus says {expected[0]} of {expected[1]} and (uint8) {seconds}",
            ADVICE,
        )
    shards = _shards(directory, info.num_shards)
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise DamageError(f"{directory} lacks the shard {missing[0]}", ADVICE)
    size = sum(shard.stat().st_size for shard in shards)
    if size != info.num_bytes:
        raise DamageError(
            f"The shards of {directory} have {size} bytes instead of {info.num_bytes}, so one is truncated or was "
            "changed",
            ADVICE,
        )
    corpus.info.check_file(corpus.path, f"{montage.name}/{QUALITY_FILE}")
