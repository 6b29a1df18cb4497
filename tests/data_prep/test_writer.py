"""Shards of records, and the folder that they become."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from labram_jax.data.schema import QUALITY_FILE, RECORD_SAMPLES, SIGNAL, record_features
from labram_jax.data_prep.writer import finish_montage, write_shard


@pytest.fixture
def features():
    return record_features(electrodes=2, dtype="float32")


def _records(numbers):
    for number in numbers:
        yield {
            "eeg": np.full((2, RECORD_SAMPLES), number, np.float32),
            "recording": f"ä{number}",
            "start_seconds": number / 2,
        }


def test_shards_become_a_dataset_in_order_and_empty_ones_are_left_out(tmp_path, features):
    parts = [range(3), range(0), range(3, 5)]
    shards, qualities = [], []
    for number, records in enumerate(parts):
        path = tmp_path / f"part{number}"
        shards.append((path, write_shard(path, _records(records), features)))
        qualities.append(tmp_path / f"part{number}.npy")
        np.save(qualities[-1], np.array([[record, number] for record in records], dtype=np.uint8).reshape(-1, 2))
    assert [count for _, count in shards] == [3, 0, 2]
    directory = tmp_path / "2ch"
    for _ in range(2):  # after an interruption the build calls it again
        assert finish_montage(directory, features, shards, qualities, {"note": "x"}) == 5
    builder = tfds.builder_from_directory(directory)
    source = builder.as_data_source(SIGNAL)
    assert [record["eeg"][1, 7] for record in source] == [0, 1, 2, 3, 4]
    assert source[4]["recording"].decode() == "ä4" and source[3]["start_seconds"] == 1.5
    assert builder.info.metadata == {"note": "x"} and list(builder.info.splits) == [SIGNAL]
    quality = np.load(directory / QUALITY_FILE, mmap_mode="r")
    assert quality.tolist() == [[0, 0], [1, 0], [2, 0], [3, 2], [4, 2]] and quality.dtype == np.uint8
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".npy") == ["2ch"]


def test_a_shard_that_fails_leaves_what_was_there(tmp_path, features):
    def failing():
        yield from _records(range(2))
        raise RuntimeError("reading stopped")

    path = tmp_path / "part"
    write_shard(path, _records(range(3)), features)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="reading stopped"):
        write_shard(path, failing(), features)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_records_make_the_same_bytes_in_another_process(tmp_path, features):
    write_shard(tmp_path / "here", _records(range(4)), features)
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, {tests!r}); import test_writer as t\n"
        "t.write_shard(Path({path!r}), t._records(range(4)), t.record_features(2, 'float32'))\n"
        "assert 'jax' not in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    for number in range(3):
        path = tmp_path / f"there{number}"
        code = script.format(tests=str(tmp_path.__class__(__file__).parent), path=str(path))
        subprocess.run([sys.executable, "-c", code], check=True)
        assert path.read_bytes() == (tmp_path / "here").read_bytes()
