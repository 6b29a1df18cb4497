import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.writer import finish_configuration, write_shard
from labram_jax.data.schema import record_features


@pytest.fixture
def features():
    return record_features(electrodes=2, patches=1, dtype="float32", label="class")


def _records(numbers):
    for number in numbers:
        yield {
            "eeg": np.full((2, 200), number, np.float32),
            "label": number % 2,
            "subject": "ä1",
            "recording": f"r{number}",
            "start_seconds": number / 2,
        }


def test_shards_become_a_dataset_in_order_and_empty_ones_are_left_out(tmp_path, features):
    parts = [range(3), range(0), range(3, 5)]
    shards = [
        (tmp_path / f"part{i}", write_shard(tmp_path / f"part{i}", _records(numbers), features))
        for i, numbers in enumerate(parts)
    ]
    assert [count for _, count in shards] == [3, 0, 2]
    directory = tmp_path / "2ch-1s"
    for _ in range(2):  # after an interruption the build calls it again
        counts = finish_configuration(directory, features, {"train": shards, "test": shards[1:2]}, {"note": "x"})
        assert counts == {"train": 5}
    builder = tfds.builder_from_directory(directory)
    source = builder.as_data_source("train")
    assert [record["eeg"][1, 7] for record in source] == [0, 1, 2, 3, 4]
    assert source[4]["subject"].decode() == "ä1" and source[3]["label"] == 1
    assert builder.info.metadata == {"note": "x"}
    assert [path.name for path in tmp_path.iterdir()] == ["2ch-1s"]


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
        "t.write_shard(Path({path!r}), t._records(range(4)), t.record_features(2, 1, 'float32', 'class'))\n"
        "assert 'jax' not in sys.modules and 'tensorflow' not in sys.modules\n"
    )
    for number in range(3):
        path = tmp_path / f"there{number}"
        code = script.format(tests=str(tmp_path.__class__(__file__).parent), path=str(path))
        subprocess.run([sys.executable, "-c", code], check=True)
        assert path.read_bytes() == (tmp_path / "here").read_bytes()
