"""Reading records: from many shards, side by side, and with few files open."""

import errno
import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from made_corpora import MadeRecording, make_corpus

from labram_jax.data import signal
from labram_jax.data.signal import Stretch, read_all
from labram_jax.errors import MAY_PASS, exit_code

SHARDS = 40


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Four seconds of two electrodes in each of many shards, whose samples are the numbers from 0 on."""
    samples = np.arange(SHARDS * 2 * 800, dtype=np.float32).reshape(SHARDS, 2, 800)
    recordings = [
        MadeRecording(f"r{n:02}", "s", ("CZ", "PZ"), eeg, [(0.0, 4.0, "train", 0)]) for n, eeg in enumerate(samples)
    ]
    folder = tmp_path_factory.mktemp("signal") / "many"
    return make_corpus(folder, recordings, dtype="float32", recordings_per_shard=1).windows("train", 4)


def expected(numbers) -> np.ndarray:
    return np.arange(SHARDS * 2 * 800, dtype=np.float32).reshape(SHARDS, 2, 800)[list(numbers)]


def open_files() -> list[int]:
    return [int(file.name) for file in Path("/dev/fd").iterdir()]


def test_stretches_share_records_and_shards_may_come_in_any_order(windows):
    (montage,) = windows.montages
    assert montage.read([]) == []
    numbers = [39, 0, 17, 0, 38]
    np.testing.assert_array_equal(np.stack([window.eeg for window in montage.read(numbers)]), expected(numbers))
    out = np.zeros((2, 1, 450), np.float32)
    second = np.array([False, True])
    stretches = [Stretch(2 * 5, start, second, own) for start, own in zip((10, 350), out, strict=True)]
    assert [(shard, records.tolist()) for shard, records in montage.signal.by_shard(stretches)] == [(5, [10, 11])]
    montage.signal.read(stretches)
    np.testing.assert_array_equal(out[:, 0], [expected([5])[0, 1, start : start + 450] for start in (10, 350)])


def test_threads_read_what_one_reads(windows):
    (montage,) = windows.montages
    twin = pickle.loads(pickle.dumps(montage.signal))
    out = np.zeros((2, SHARDS, 2, 800), np.float32)
    wanted = [
        (signal, [Stretch(2 * n, 0, None, own[n]) for n in range(SHARDS)])
        for signal, own in zip((montage.signal, twin), out, strict=True)
    ]
    with ThreadPoolExecutor(4) as threads:
        read_all(wanted, threads)
    np.testing.assert_array_equal(out[0], expected(range(SHARDS)))
    np.testing.assert_array_equal(out[0], out[1])


class Hiccups:
    """Records of a shard, which the storage refuses at the first `fails` calls."""

    def __init__(self, fails: int):
        self.fails, self.tries = fails, 0

    def __call__(self, path: str, **options):
        reader, own = ArrayRecordReader(path, **options), self

        class Failing:
            def read(self, numbers):
                own.tries += 1
                if own.tries <= own.fails:
                    raise RuntimeError(f"UNKNOWN: {os.strerror(errno.EIO)}; reading {path}")
                return reader.read(numbers)

        return Failing()


def test_storage_that_hiccups_is_asked_again(windows, monkeypatch):
    fresh = pickle.loads(pickle.dumps(windows.montages[0]))
    monkeypatch.setattr(signal, "RETRY_PAUSES", (0.0, 0.0))
    for fails, tries in ((2, 4), (99, 3)):
        monkeypatch.setattr(signal, "ArrayRecordReader", hiccups := Hiccups(fails))
        if fails == 2:
            np.testing.assert_array_equal(fresh[7].eeg, expected([7])[0])
        else:
            with pytest.raises(OSError, match="Input/output error") as caught:
                _ = fresh[8].eeg
            assert exit_code(caught.value) == MAY_PASS and caught.value.filename.startswith(str(windows.corpus.path))
        assert hiccups.tries == tries  # a window of two records


def test_more_shards_can_be_read_than_files_can_be_open(windows):
    fresh = pickle.loads(pickle.dumps(windows.montages[0]))  # which has no file open
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(open_files())
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * (highest + 6), hard))
    try:
        with ThreadPoolExecutor(4) as threads:  # files close while other threads read from them
            found = list(threads.map(lambda number: fresh[number].eeg, [*range(SHARDS)] * 5))
        assert len(open_files()) <= highest + 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    np.testing.assert_array_equal(np.stack(found[-SHARDS:]), expected(range(SHARDS)))
