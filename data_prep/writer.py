"""Writes records into ArrayRecord shards, and makes a folder of shards a TFDS dataset with its quality beside it."""

import errno
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from labram_jax.data.schema import QUALITY_FILE, SIGNAL, shard_name
from labram_jax.errors import InputError, os_error_in

# One record a chunk makes any record readable alone, which a global shuffle needs. EEG hardly compresses (8 %
# with zstd), and reading it uncompressed is four times as fast.
_OPTIONS = "group_size:1,uncompressed"


def write_shard(path: Path, records: Iterable[Mapping[str, Any]], features: tfds.features.FeaturesDict) -> int:
    """Writes `records` (dicts as `features` says) into one ArrayRecord file and returns how many there were.

    The file appears under its name only when whole, and not at all when there are no records. The same records
    make the same bytes. Raises OSError where they cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")  # two machines may be at the same shard
    count = 0
    writer = ArrayRecordWriter(str(partial), _OPTIONS)
    try:
        try:
            for record in records:
                writer.write(_serialize(record, features))
                count += 1
        finally:
            writer.close()
        if count:
            partial.replace(path)
    except RuntimeError as error:
        if str(partial) not in str(error):  # of what gives the records
            raise
        raise os_error_in(str(error), str(path)) or OSError(errno.EIO, str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)
    return count


def _serialize(record: Mapping[str, Any], features: tfds.features.FeaturesDict) -> bytes:
    # TFDS leaves the order of the fields to chance, which differs between processes.
    example = tf_example_pb2.Example.FromString(features.serialize_example(record))
    return example.SerializeToString(deterministic=True)


def finish_montage(
    directory: Path,
    features: tfds.features.FeaturesDict,
    shards: Sequence[tuple[Path, int]],
    qualities: Sequence[Path],
    metadata: Mapping[str, Any],
) -> int:
    """Makes `directory` a folder that `tfds.builder_from_directory` opens, and returns its number of records.

    `shards` are those that `write_shard` made, in order, with their numbers of records; those without any are left
    out. They move to their final names inside `directory`; after an interruption the call may be repeated.
    `qualities` are arrays (uint8 [seconds, C], `.npy`) that become one beside the records. `metadata` (JSON values) is
    kept too. The first and the last record are read back.
    """
    directory.mkdir(parents=True, exist_ok=True)
    filled = [(path, count) for path, count in shards if count]
    lengths = [count for _, count in filled]
    names = [shard_name(number, len(filled)) for number in range(len(filled))]
    for (path, _), name in zip(filled, names, strict=True):
        if path.exists() or not (directory / name).exists():  # else it was moved before an interruption
            path.replace(directory / name)
    size = sum((directory / name).stat().st_size for name in names)
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        split_infos=[tfds.core.SplitInfo(name=SIGNAL, shard_lengths=lengths, num_bytes=size)],
        metadata=tfds.core.MetadataDict(metadata),
        check_data=False,  # it would import TensorFlow; `_read_back` checks instead
    )
    _join(qualities, directory / QUALITY_FILE)
    _read_back(directory, sum(lengths))
    return sum(lengths)


def _join(parts: Sequence[Path], whole: Path) -> None:
    """Puts arrays one behind the other into one file, one of them in memory at a time."""
    shapes = [np.load(part, mmap_mode="r").shape for part in parts]
    shape = (sum(seconds for seconds, _ in shapes), shapes[0][1])
    # Not through a memory map, over which the system ends the process without a word where the disk is full.
    with whole.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for part in parts:
            file.write(np.load(part).tobytes())


def _read_back(directory: Path, count: int) -> None:
    builder = tfds.builder_from_directory(directory)
    source = builder.as_data_source(SIGNAL)
    if len(source) != count:
        raise InputError(
            f"The shards of {directory} hold {len(source)} records instead of {count}: "
            "another program may have changed them; prepare the corpus again."
        )
    for record in (source[0], source[count - 1]):
        if record["eeg"].shape != builder.info.features["eeg"].shape:
            raise InputError(f"A record of {directory} reads back with shape {record['eeg'].shape}.")
