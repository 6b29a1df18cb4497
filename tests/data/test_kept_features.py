"""Features that lie beside a corpus: whose they are, of which windows, and what becomes of damage."""

import shutil

import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus

from labram_jax.config import DataConfig
from labram_jax.data import features
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.features import all_windows, info_of, kept_or_read, read_alone
from labram_jax.data.remote import local_folder
from labram_jax.data.splits import with_splits
from labram_jax.lock import held
from labram_jax.montage import ELECTRODES

DATA = DataConfig(window_seconds=2)
KINDS = {"pooled": ((2,), np.float32), "present": ((3,), np.bool_)}
ENCODER = "e" * 64


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Corpus:
    """Two montages, four subjects, whose recordings of 24 s break; spans of another split come between."""
    generator, recordings = np.random.default_rng(0), []
    for count in (3, 4):
        for subject in ("a", "b"):
            eeg = generator.normal(scale=30, size=(count, 24 * 200)).astype(np.float16)
            spans = [(0, 10, "test", 0), (10, 17, "train", 1), (17, 24, "validation", 0)]
            name = f"{subject}{count}"
            recordings.append(MadeRecording(name, name, ELECTRODES[:count], eeg, spans, cuts=(1700,)))
    return make_corpus(tmp_path_factory.mktemp("corpora") / "made", recordings, ("one", "two"), shared_subjects=True)


@pytest.fixture
def corpus(made, tmp_path) -> Corpus:
    """One that a test may change."""
    shutil.copytree(made.path, tmp_path / "made")
    return Corpus.open(tmp_path / "made")


def places(windows) -> np.ndarray:
    """Something of every window that tells it from all others."""
    found = []
    for montage in windows.montages:
        listed = montage.index.listed()
        subject = [ord(name[0]) * 100 + len(montage.electrodes) for name in listed["recording"]]
        found.append(np.stack([subject, listed["start_seconds"]], axis=1))
    return np.concatenate(found).astype(np.float32)


class Reader:
    """What an encoder would give of all windows, a few at a time; counts how often it was asked."""

    def __init__(self, windows, without=()):
        self.windows, self.without, self.asked, self.told = windows, without, 0, []

    def __call__(self):
        self.asked += 1
        values = places(self.windows)
        for start in range(0, len(values), 5):
            numbers = np.array([n for n in range(start, min(start + 5, len(values))) if n not in self.without], int)
            yield numbers, {"pooled": values[numbers], "present": numbers[:, None] > [1, 2, 3]}


def keep(corpus: Corpus, data: DataConfig = DATA, encoder: str = ENCODER, reader: Reader | None = None):
    """Keeps features, or finds them; gives them, and the reader that was asked, or not."""
    windows = all_windows(corpus, data)
    reader = reader or Reader(windows)
    info = info_of(windows, data, encoder, "mean", "float32")
    return kept_or_read(windows, info, KINDS, reader, reader.told.append), reader


def folders(corpus: Corpus) -> list:
    return sorted(path for path in (corpus.path / "features").glob("*") if path.is_dir())


def test_features_are_read_once_and_chosen_by_every_split(corpus):
    """By those of the corpus, of lists of subjects and of stretches of time, whose windows are others."""
    kept, reader = keep(corpus)
    again, other = keep(corpus)
    assert (reader.asked, other.asked) == (1, 0) and "are kept in" in reader.told[0]
    assert "does not run: features of 40 windows" in other.told[0]
    np.testing.assert_array_equal(again.arrays["pooled"], places(all_windows(corpus, DATA)))
    assert isinstance(again.arrays["pooled"], np.memmap) and kept.there.all()
    splits = [corpus, with_splits(DataConfig(test_subjects=("a4", "b3"), validation_subjects=("a3",)), corpus)]
    seen = set()
    for own in splits:
        features_of, reader = keep(own)
        assert reader.asked == 0
        for split in own.splits:
            windows = own.windows(split, 2)
            numbers = features_of.numbers(windows)
            np.testing.assert_array_equal(features_of.arrays["pooled"][numbers], places(windows))
            np.testing.assert_array_equal(features_of.arrays["present"][numbers], numbers[:, None] > [1, 2, 3])
            seen |= {tuple(place) for place in places(windows).tolist()}
    assert len(seen) == 40
    assert f"features of 40 windows (mean, float32) in {folders(corpus)[0]}" in describe(corpus)


def test_stretches_of_time_share_their_features_too(corpus):
    folds = [DataConfig(window_seconds=2, time_folds=4, test_fold=fold) for fold in range(3)]
    asked = []
    for data in folds:
        own = with_splits(data, corpus)
        kept, reader = keep(own, data)
        asked.append(reader.asked)
        for split in own.splits:
            windows = own.windows(split, 2)
            np.testing.assert_array_equal(kept.arrays["pooled"][kept.numbers(windows)], places(windows))
    assert asked == [1, 0, 0] and len(folders(corpus)) == 1


def test_what_is_of_something_else_is_not_taken(corpus):
    keep(corpus)
    assert keep(corpus, encoder="f" * 64)[1].asked == 1
    assert keep(corpus, DataConfig(window_seconds=3))[1].asked == 1
    assert keep(corpus, DataConfig(window_seconds=2, stride_seconds=1))[1].asked == 1
    windows = all_windows(corpus, DATA)
    info = info_of(windows, DATA, ENCODER, "mean", "bfloat16")
    reader = Reader(windows)
    kept_or_read(windows, info, KINDS, reader, reader.told.append)
    assert reader.asked == 1 and len(folders(corpus)) == 5


def damaged_byte(folder):
    content = bytearray((folder / "pooled.npy").read_bytes())
    content[200] ^= 1
    (folder / "pooled.npy").write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        damaged_byte,
        lambda folder: (folder / "present.npy").unlink(),
        lambda folder: (folder / "pooled.npy").write_bytes(b""),
        lambda folder: (folder / "features.json").write_text("{}"),
        lambda folder: (folder / "features.json").unlink(),
    ],
    ids=["a byte", "a file", "cut", "description", "no description"],
)
def test_what_is_damaged_is_told_and_made_anew(corpus, damage):
    keep(corpus)
    (folder,) = folders(corpus)
    damage(folder)
    kept, reader = keep(corpus)
    assert reader.asked == 1 and any("are not what was written" in line for line in reader.told)
    np.testing.assert_array_equal(kept.arrays["pooled"], places(all_windows(corpus, DATA)))
    assert keep(corpus)[1].asked == 0


def test_a_reading_that_ends_early_leaves_nothing_that_is_taken(corpus):
    class Broken(Reader):
        def __call__(self):
            yield next(super().__call__())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(corpus, reader=Broken(all_windows(corpus, DATA)))
    assert folders(corpus) == []
    keep(corpus)
    partial = folders(corpus)[0].rename(folders(corpus)[0].with_suffix(".partial"))  # as a kill leaves it
    (partial / "pooled.npy").write_bytes(b"half")
    again, reader = keep(corpus)
    assert reader.asked == 1 and [path.suffix for path in folders(corpus)] == [""]
    np.testing.assert_array_equal(again.arrays["pooled"], places(all_windows(corpus, DATA)))


def test_where_a_corpus_cannot_be_written_to_the_cache_takes_them(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("LABRAM_CACHE", str(tmp_path / "cache"))
    (corpus.path / "features").write_text("no folder")
    _, reader = keep(corpus)
    assert reader.asked == 1 and "features are not kept in" in reader.told[0]
    assert keep(corpus)[1].asked == 0 and list((tmp_path / "cache" / "features").glob("*/*/pooled.npy"))
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 0))
    windows = all_windows(corpus, DataConfig(window_seconds=3))
    found, full = keep(corpus, DataConfig(window_seconds=3))
    assert full.asked == 1 and "0.0 are free" in full.told[1]
    np.testing.assert_array_equal(found.arrays["pooled"], places(windows))


def test_another_process_that_keeps_them_holds_nobody_up(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("LABRAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("labram_jax.lock.PATIENCE_SECONDS", 0.0)
    keep(corpus)
    (folder,) = folders(corpus)
    shutil.rmtree(folder)
    with held(folder.with_name(f"{folder.name}.lock"), "it"):
        _, reader = keep(corpus)
    assert reader.asked == 1 and "is in use by process" in reader.told[0] and folders(corpus) == []


def test_windows_that_are_damaged_have_none_and_are_not_kept(corpus):
    windows = all_windows(corpus, DATA)
    kept, _ = keep(corpus, reader=Reader(windows, without=(0, 7, 39)))
    assert np.flatnonzero(~kept.there).tolist() == [0, 7, 39] and folders(corpus) == []
    np.testing.assert_array_equal(kept.arrays["pooled"][kept.there], places(windows)[kept.there])
    folder = kept._temporary.name
    del kept
    with pytest.raises(FileNotFoundError):
        np.load(f"{folder}/pooled.npy")
    np.testing.assert_array_equal(read_alone(windows, KINDS, Reader(windows)).arrays["pooled"], places(windows))


def test_a_bucket_s_features_are_not_fetched(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("LABRAM_CACHE", str(tmp_path / "cache"))
    before = local_folder(f"local://{corpus.path}")
    keep(corpus)
    after = local_folder(f"local://{corpus.path}")
    assert before == after and (before / "corpus.json").is_file() and not (before / "features").exists()
