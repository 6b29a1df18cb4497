"""Opens prepared corpora: checks what is on disk, and reads single windows from any place."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from labram_jax.data.remote import local_folder
from labram_jax.data.schema import SAMPLES, SPLITS, ConfigurationInfo, CorpusInfo, shard_name
from labram_jax.data.stream import addresses
from labram_jax.errors import InputError


class Window(NamedTuple):
    """One window: `eeg` in microvolts as stored, and where it was cut from.

    `label` is a class index (-1 where the window has none), a float32 vector, or None in a corpus without labels.
    """

    eeg: Float[np.ndarray, "C samples"]
    label: int | np.ndarray | None
    subject: str
    recording: str
    start_seconds: float


class WindowSource:
    """Random access to the windows of one configuration and split, in the order in which they were prepared."""

    def __init__(self, directory: Path, split: str):
        self.directory, self.split = directory, split
        self._records = tfds.builder_from_directory(directory).as_data_source(split)

    def __reduce__(self):
        # Open files do not travel to another process.
        return WindowSource, (self.directory, self.split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Window:
        try:
            record = self._records[index]
        except (RuntimeError, ValueError) as error:
            if not 0 <= index < len(self):
                raise IndexError(index) from error
            raise InputError(
                f"Window {index} of {self.directory} ({self.split}) cannot be read, so a shard is damaged: "
                "prepare the corpus again."
            ) from error
        return Window(
            eeg=record["eeg"],
            label=record.get("label"),
            subject=_text(record["subject"]),
            recording=_text(record["recording"]),
            start_seconds=record["start_seconds"],
        )


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk. Make it with `Corpus.open`, which checks it; `address` is what was given to it."""

    path: Path
    info: CorpusInfo
    address: str

    @classmethod
    def open(cls, path: str | Path) -> "Corpus":
        """Opens the corpus in folder `path`, or at an address in a bucket, from where it is fetched first.

        Raises InputError for an address that cannot be fetched, a missing folder, a folder that is no corpus, another
        format version, a montage the model has no electrodes for, and shards that are missing, truncated, or not
        those described.
        """
        folder = local_folder(path)
        corpus = cls(folder, CorpusInfo.read(folder), str(path))
        for configuration in corpus.configurations:
            _check(corpus.path, configuration)
        return corpus

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def configurations(self) -> tuple[ConfigurationInfo, ...]:
        """The montages and window lengths that this corpus holds."""
        return self.info.configurations

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes in the order of their index, or None."""
        return self.info.classes

    def windows(self, split: str) -> int:
        """Returns the number of windows of a split, over all configurations; 0 if there is no such split."""
        return sum(configuration.splits.get(split, 0) for configuration in self.configurations)

    def source(self, configuration: str, split: str) -> WindowSource:
        """Returns the windows of one configuration (by name) and split; InputError where there are none."""
        known = {entry.name: entry for entry in self.configurations}
        if configuration not in known:
            raise InputError(
                f"The corpus {self.path} has no configuration {configuration!r}; it has {', '.join(known)}."
            )
        if not known[configuration].splits.get(split):
            raise InputError(f"{self.path / configuration} has no windows in the split {split!r}.")
        return WindowSource(self.path / configuration, split)

    def describe(self) -> str:
        """Returns what the corpus holds, as text for a person."""
        label = {None: "none", "class": "class", "vector": f"vector of {self.info.outputs}"}[self.info.label]
        lines = [
            f"corpus {self.name} ({self.path})",
            f"  labels: {label}" + (f" ({', '.join(self.classes)})" if self.classes else ""),
            f"  filters: {_filters(self.info.filters)}",
        ]
        if self.info.provenance:
            lines.append(f"  provenance: {self.info.provenance}")
        hours = 0.0
        for entry in self.configurations:
            windows = ", ".join(f"{split} {entry.splits[split]}" for split in SPLITS if entry.splits.get(split))
            hours += sum(entry.splits.values()) * entry.patches_per_electrode / 3600
            lines += [
                f"  configuration {entry.name}: {len(entry.electrodes)} electrodes x "
                f"{entry.patches_per_electrode} s = {entry.patches} patches a window; windows: {windows}",
                f"    {' '.join(entry.electrodes)}",
            ]
        total = ", ".join(f"{split} {self.windows(split)}" for split in SPLITS)
        return "\n".join([*lines, f"  in all: {total} windows, {hours:.2f} h of windows"])


def _check(path: Path, configuration: ConfigurationInfo) -> None:
    directory = path / configuration.name
    try:
        addresses(configuration.electrodes, configuration.patches_per_electrode)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from error
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # TFDS has no one exception for a folder that it cannot open
        raise InputError(f"{directory} is missing or not readable by TFDS: prepare the corpus again.") from error
    shape = (len(configuration.electrodes), configuration.patches_per_electrode * SAMPLES)
    found = {split: info.num_examples for split, info in builder.info.splits.items()}
    expected = {split: count for split, count in configuration.splits.items() if count}
    if found != expected or builder.info.features["eeg"].shape != shape:
        raise InputError(
            f"{directory} holds {found} windows of shape {builder.info.features['eeg'].shape}, but the corpus "
            f"says {expected} of {shape}: prepare the corpus again."
        )
    for split, info in builder.info.splits.items():
        shards = [directory / shard_name(split, shard, info.num_shards) for shard in range(info.num_shards)]
        missing = [shard.name for shard in shards if not shard.is_file()]
        if missing:
            raise InputError(f"{directory} lacks the shard {missing[0]}: copy or prepare the corpus again.")
        size = sum(shard.stat().st_size for shard in shards)
        if size != info.num_bytes:
            raise InputError(
                f"The shards of {directory} ({split}) have {size} bytes instead of {info.num_bytes}, so one is "
                "truncated or was changed: copy or prepare the corpus again."
            )


def _filters(filters: dict | None) -> str:
    if not filters:
        return "none"
    return ", ".join(f"{name} {value}" for name, value in filters.items() if value is not None)


def _text(value: bytes | str) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
