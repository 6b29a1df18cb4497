"""Corpora in a bucket: what is fetched, when, and what is told when it cannot be."""

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from sentences import refuses

from labram_jax.data import remote
from labram_jax.data.corpus import Corpus

ADDRESS = "memory://bucket/eeg/small"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket(corpus):
    """A bucket in memory that holds the corpus."""
    store = fsspec.filesystem("memory")
    store.put(str(corpus.path), ADDRESS, recursive=True)
    yield store
    store.rm("/bucket", recursive=True)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_corpus_in_a_bucket_is_the_corpus(bucket, cache, corpus):
    opened = Corpus.open(ADDRESS)
    assert files(opened.path) == files(corpus.path)
    assert opened.info == corpus.info and opened.address == ADDRESS and opened.path.parent == cache


def test_it_is_fetched_once_and_again_when_it_changes(bucket, cache, monkeypatch):
    first = remote.local_folder(ADDRESS)
    with monkeypatch.context() as patched:
        patched.setattr(type(bucket), "get_file", lambda *_: pytest.fail("fetched again"))
        assert remote.local_folder(ADDRESS + "/") == first
    bucket.pipe_file("/bucket/eeg/small/notes.txt", b"new")
    second = remote.local_folder(ADDRESS)
    assert second != first and (second / "notes.txt").read_bytes() == b"new" and first.is_dir()


def test_codes_may_come_later_than_the_corpus(bucket, cache, monkeypatch):
    first = remote.local_folder(ADDRESS)
    bucket.pipe_file("/bucket/eeg/small/codes/own/codes.json", b"{}")
    fetched, get_file = [], type(bucket).get_file
    monkeypatch.setattr(
        type(bucket), "get_file", lambda store, *paths: fetched.append(paths) or get_file(store, *paths)
    )
    for _ in range(2):
        assert remote.local_folder(ADDRESS) == first
    assert len(fetched) == 1 and (first / "codes" / "own" / "codes.json").read_bytes() == b"{}"


def test_a_fetch_that_broke_off_goes_on_where_it_was(bucket, cache, corpus, monkeypatch):
    fetched, get_file = [], type(bucket).get_file

    def breaking(store, source, target):
        if len(fetched) == 3:
            Path(target).write_bytes(b"a part")
            raise ConnectionError("the line is dead")
        fetched.append(source)
        get_file(store, source, target)

    monkeypatch.setattr(remote, "FILES_AT_A_TIME", 1)
    with monkeypatch.context() as patched:
        patched.setattr(type(bucket), "get_file", breaking)
        with refuses("could not be fetched whole .*the line is dead.*the same command goes on"):
            remote.local_folder(ADDRESS)
    assert [path.suffix for path in cache.iterdir() if path.is_dir()] == [".part"]

    def counting(store, source, target):
        fetched.append(source)
        get_file(store, source, target)

    monkeypatch.setattr(type(bucket), "get_file", counting)
    assert files(remote.local_folder(ADDRESS)) == files(corpus.path)
    assert len(fetched) == len(set(fetched)) == len(files(corpus.path))


def test_a_file_that_comes_short_is_not_taken(bucket, cache, monkeypatch):
    monkeypatch.setattr(type(bucket), "get_file", lambda store, source, target: Path(target).write_bytes(b"short"))
    with refuses("came with 5 bytes instead of"):
        remote.local_folder(ADDRESS)


def test_processes_of_one_machine_share_a_copy(cache, corpus):
    """Two at once, from a folder by its address: one fetches, the other waits and takes what is there."""
    code = f"from labram_jax.data import remote; print(remote.local_folder('file://{corpus.path}'))"
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] and sum("fetching" in errors for _, errors in outputs) == 1
    assert files(Path(outputs[0][0].strip())) == files(corpus.path)


def test_what_cannot_be_fetched_is_told(bucket, cache, monkeypatch):
    with refuses("memory://bucket/eeg is not a corpus"):
        remote.local_folder("memory://bucket/eeg")
    with refuses("nothing://bucket cannot be used"):
        remote.local_folder("nothing://bucket")
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda _: (_ for _ in ()).throw(ImportError("Please install gcsfs")))
    with refuses(r"needs another library: pip install 'labram-jax\[cloud\]'"):
        remote.local_folder("gs://bucket/corpus")
    monkeypatch.undo()
    monkeypatch.setenv(remote.CACHE, str(cache))
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: remote.shutil._ntuple_diskusage(1, 1, 0))
    with refuses(f"make room, or set {remote.CACHE}"):
        remote.local_folder(ADDRESS)


def test_an_object_whose_copy_would_lie_elsewhere_is_refused(bucket, cache):
    bucket.store["/bucket/eeg/small/a/../../../evil"] = bucket.store["/bucket/eeg/small/corpus.json"]
    with refuses(r"an object called 'a/\.\./\.\./\.\./evil', whose copy would lie outside of the corpus"):
        remote.local_folder(ADDRESS)
    assert not cache.exists()
