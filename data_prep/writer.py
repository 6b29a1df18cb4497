"""Writes windows into ArrayRecord shards, and makes a folder of shards a TFDS dataset."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from labram_jax.data.schema import shard_name
from labram_jax.errors import InputError

# One record a chunk makes any record readable alone, which a global shuffle needs. EEG hardly compresses (8 %
# with zstd), and reading it uncompressed is four times as fast.
_OPTIONS = "group_size:1,uncompressed"


def write_shard(path: Path, records: Iterable[Mapping[str, Any]], features: tfds.features.FeaturesDict) -> int:
    """Writes `records` (dicts as `features` says) into one ArrayRecord file and returns how many there were.

    The file appears under its name only when whole, and not at all when there are no records. The same records
    make the same bytes.
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
    finally:
        partial.unlink(missing_ok=True)
    return count


def _serialize(record: Mapping[str, Any], features: tfds.features.FeaturesDict) -> bytes:
    # TFDS leaves the order of the fields to chance, which differs between processes.
    example = tf_example_pb2.Example.FromString(features.serialize_example(record))
    return example.SerializeToString(deterministic=True)


def finish_configuration(
    directory: Path,
    features: tfds.features.FeaturesDict,
    split_shards: Mapping[str, Sequence[tuple[Path, int]]],
    metadata: Mapping[str, Any],
) -> dict[str, int]:
    """Makes `directory` a folder that `tfds.builder_from_directory` opens; returns the windows of each split.

    `split_shards` names for each split the shards that `write_shard` made, in order, with their counts;
    those without records are left out, and so is a split without any. Shards move to their final names
    inside `directory`; after an interruption the call may be repeated. `metadata` (JSON values) is kept
    beside the data. The first and the last record of each split are read back.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lengths: dict[str, list[int]] = {}
    for split, shards in split_shards.items():
        filled = [(path, count) for path, count in shards if count]
        for number, (path, _) in enumerate(filled):
            final = directory / shard_name(split, number, len(filled))
            if path.exists() or not final.exists():  # else it was moved before an interruption
                path.replace(final)
        if filled:
            lengths[split] = [count for _, count in filled]
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=features,
        split_infos=[_split_info(directory, split, counts) for split, counts in lengths.items()],
        metadata=tfds.core.MetadataDict(metadata),
        check_data=False,  # it would import TensorFlow; `_read_back` checks instead
    )
    counts = {split: sum(shard_lengths) for split, shard_lengths in lengths.items()}
    _read_back(directory, counts)
    return counts


def _split_info(directory: Path, split: str, shard_lengths: list[int]) -> tfds.core.SplitInfo:
    names = [shard_name(split, number, len(shard_lengths)) for number in range(len(shard_lengths))]
    return tfds.core.SplitInfo(
        name=split,
        shard_lengths=shard_lengths,
        num_bytes=sum((directory / name).stat().st_size for name in names),
    )


def _read_back(directory: Path, counts: Mapping[str, int]) -> None:
    builder = tfds.builder_from_directory(directory)
    for split, count in counts.items():
        source = builder.as_data_source(split)
        if len(source) != count:
            raise InputError(
                f"The shards of {directory} ({split}) hold {len(source)} windows instead of {count}: "
                "another program may have changed them; prepare the corpus again."
            )
        for record in (source[0], source[count - 1]):
            if record["eeg"].shape != builder.info.features["eeg"].shape:
                raise InputError(f"A record of {directory} ({split}) reads back with shape {record['eeg'].shape}.")
