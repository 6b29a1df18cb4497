import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_corpora import MadeRecording, without_digests
from made_corpora import make_corpus as build_corpus

import labram_jax
from labram_jax.data.corpus import Corpus
from labram_jax.data.describe import describe
from labram_jax.data.schema import QualityLimits
from labram_jax.errors import DamageError, InputError
from labram_jax.montage import ELECTRODES

MONTAGES = [(3, {"train": 5, "test": 3}), (2, {"train": 4})]


def test_windows_are_views_of_the_signal(make_corpus, tmp_path):
    """Every length and stride, from records that they share, is the signal that was prepared."""
    corpus = make_corpus("pair", MONTAGES)
    with np.load(tmp_path / "pair-recordings" / "train3.npz") as made:
        eeg = made["eeg"].astype(np.float32)
    for seconds, stride in ((1, None), (2, None), (2, 0.005), (2, 0.5)):
        windows = corpus.windows("train", seconds, stride).montages[1]
        for number in range(len(windows)):
            window = windows[number]
            start = round(window.start_seconds * 200)
            np.testing.assert_array_equal(window.eeg, eeg[:, start : start + seconds * 200])
            assert window.eeg.dtype == np.float32 and not window.bad.any()
            assert (window.subject, window.recording, window.electrodes) == ("train3", "train3", ELECTRODES[:3])
            assert window.label == (start // 400) % 2


def test_windows_are_a_sequence_over_all_montages(make_corpus):
    corpus = labram_jax.open_corpus(make_corpus("pair", MONTAGES).path)
    windows = corpus.windows("train", seconds=2)
    assert len(windows) == 9 and [len(window.electrodes) for window in windows] == [2] * 4 + [3] * 5
    assert windows[-1].start_seconds == windows[8].start_seconds == 8.0
    np.testing.assert_array_equal(windows[4].eeg, next(iter(windows.montages[1])).eeg)
    with pytest.raises(IndexError):
        windows[9]
    assert len(corpus.windows("validation")) == 0 and list(corpus.windows("validation")) == []
    # Each window is a span of two seconds, and the default is four.
    assert len(corpus.windows("train")) == 0


def test_a_montage_is_a_tfds_dataset(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    builder = tfds.builder_from_directory(corpus.path / "2ch")
    assert builder.info.splits["signal"].num_examples == 4  # 8 s in records of 2
    record = builder.as_data_source("signal")[3]
    assert record["eeg"].shape == (2, 400) and record["start_seconds"] == 6.0 and record["recording"] == b"train2"
    np.testing.assert_array_equal(record["eeg"].astype(np.float32), corpus.windows("train", 2)[3].eeg)


def test_labels_may_be_vectors_or_absent(make_corpus):
    vectors = make_corpus("vectors", MONTAGES, label="vector", outputs=2)
    np.testing.assert_array_equal(vectors.windows("train", 2)[1].label, [1, 2])
    assert make_corpus("bare", MONTAGES, label=None).windows("train", 2)[0].label is None


def test_bad_electrodes_are_named_and_useless_windows_left_out(tmp_path):
    eeg = np.random.default_rng(0).normal(scale=20, size=(12, 200 * 20))
    eeg[3, 200 * 8 : 200 * 10] = 0.0  # flat for two seconds
    eeg[:6, 200 * 16 : 200 * 18] = 5000.0  # half of the electrodes
    recordings = [MadeRecording("r", "s", ELECTRODES[:12], eeg, [(0.0, 20.0, "train", 0)], bads=["FPZ"])]
    corpus = build_corpus(tmp_path / "bad", recordings, quality=QualityLimits(), window_seconds=4)
    windows = corpus.windows("train", seconds=4)
    assert [window.start_seconds for window in windows] == [0, 4, 8, 12]
    assert [window.bad.nonzero()[0].tolist() for window in windows] == [[1], [1], [1, 3], [1]]
    assert sum(windows.dropped.values()) == 1 and windows.bad_electrodes == {"flat": 1, "marked bad": 4}
    assert "FPZ 100.0%" in describe(corpus) and "left out: bad electrodes" in describe(corpus)


def test_pieces_hold_no_window_across_a_cut(tmp_path):
    eeg = np.random.default_rng(0).normal(scale=20, size=(4, 200 * 20)).astype(np.float32)
    recordings = [MadeRecording("r", "s", ELECTRODES[:4], eeg, [(0.0, 20.0, "train", 0)], cuts=[200 * 7 + 33])]
    corpus = build_corpus(tmp_path / "cut", recordings, dtype="float32")
    windows = corpus.windows("train", seconds=4)
    assert [window.start_seconds for window in windows] == [0, 7.165, 11.165, 15.165]
    for window in windows:
        start = round(window.start_seconds * 200)
        np.testing.assert_array_equal(window.eeg, eeg[:, start : start + 800])
    assert "1 recordings in 2 pieces (1 cuts)" in describe(corpus)


def test_description_says_what_is_there(make_corpus):
    text = describe(make_corpus("pair", MONTAGES))
    for part in (
        "pair", "closed, open", "montage 3ch: 3 electrodes", "FP1 FPZ FP2", "train: 2 subjects (train2, train3)",
        "9 windows of 2 s", "test: 1 subjects",
    ):  # fmt: skip
        assert part in text, part


def test_an_unknown_split_is_refused(make_corpus):
    with pytest.raises(InputError, match=r"no split 'tests': choose one of train, validation, test"):
        make_corpus("pair", MONTAGES).windows("tests")


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="no corpus"):
        Corpus.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"not a corpus .*corpus\.json"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{not json")
    with pytest.raises(DamageError, match=r"corpus\.json is damaged, since it is no JSON"):
        Corpus.open(tmp_path)


def test_a_corpus_of_windows_is_refused_with_the_way_to_make_it_anew(tmp_path):
    """As the first format described itself."""
    entry = {"name": "3ch-2s", "electrodes": ["FP1", "FPZ", "FP2"], "patches_per_electrode": 2, "splits": {"train": 1}}
    content = {"format": 1, "rate_hz": 200, "units": "microvolts", "name": "old", "configurations": [entry]}
    (tmp_path / "corpus.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"earlier version, which stored windows: prepare it anew .*window_seconds"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"units": "volts"}, "volts"),
        ({"montages": [{"name": "3ch"}]}, "damaged .*lacks 'electrodes' in MontageInfo"),
        ({"montages": 3}, "damaged .*montages is 3"),
        ({"montages": [{"name": "../3ch", "electrodes": ["CZ"], "seconds": 1.0}]}, "damaged .*that of no folder"),
        ({"classes": "ab"}, "damaged .*classes is 'ab'"),
        ({"classes": None}, "damaged .*labels without classes"),
        ({"dtype": "object"}, "damaged .*signal of the type 'object'"),
        ({"label": "vector"}, "damaged .*None quantities"),
        ({"window_seconds": 10**9}, "damaged .*windows of 1000000000 s"),
        ({"quality": {"bad_electrodes": "many"}}, "damaged .*bad_electrodes is 'many'"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(make_corpus, change, message):
    corpus = make_corpus("pair", MONTAGES)
    _edit(corpus, lambda content: content.update(change))
    with pytest.raises(InputError, match=message):
        Corpus.open(corpus.path)


def test_a_montage_without_embedding_rows_is_refused(make_corpus):
    corpus = without_digests(make_corpus("pair", MONTAGES))
    _edit(corpus, lambda content: content["montages"][1].update(electrodes=["FP1", "FPZ", "XYZ"]))
    with pytest.raises(InputError, match=r"3ch.*XYZ"):
        Corpus.open(corpus.path)


def test_tables_that_are_missing_damaged_or_disagree_are_refused(make_corpus):
    corpus = without_digests(make_corpus("pair", MONTAGES))
    pieces = corpus.path / "pieces.csv"
    whole = pieces.read_text()
    pieces.write_text(whole.replace("2000", "2001"))  # one sample more in the training recording of 3 electrodes
    with pytest.raises(DamageError, match=r"pieces\.csv is damaged \(the first_record of its row 3 cannot be\)"):
        Corpus.open(corpus.path)
    pieces.write_text("\n".join(whole.splitlines()[:-1]) + "\n")  # the last recording of 3 electrodes is gone
    with pytest.raises(InputError, match=r"3ch holds .* prepare the corpus again"):
        Corpus.open(corpus.path)
    pieces.write_text("montage,recording\nx,y\n")
    with pytest.raises(InputError, match=r"pieces\.csv is damaged"):
        Corpus.open(corpus.path)
    pieces.write_text(whole)
    (corpus.path / "spans.csv").unlink()
    with pytest.raises(InputError, match=r"spans\.csv is missing"):
        Corpus.open(corpus.path)


@pytest.mark.parametrize(
    ("table", "old", "new", "says"),
    [
        ("spans.csv", ",test,", ",tests,", "split of its row"),
        ("spans.csv", ",train,0,", ",train,inf,", "start of its row"),
        ("spans.csv", ",train,0,2,", ",train,0,-2,", "stop of its row"),
        ("spans.csv", ",1\n", ",7\n", "label of its row"),
        ("spans.csv", ",train,0,", ",train,soon,", "damaged"),
        ("pieces.csv", "3ch,", "4ch,", "montage that is not described of its row"),
        ("pieces.csv", ",0.0,", ",inf,", "start of its row"),
        ("pieces.csv", ",2000,", ",0,", "number of samples of its row"),
        ("pieces.csv", ",2000,", f",{10**30},", "damaged"),
    ],
)
def test_tables_say_only_what_can_be(make_corpus, table, old, new, says):
    path = make_corpus("pair", MONTAGES).path / table
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=rf"{table} is .*{says}"):
        Corpus.open(path.parent)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("spans.csv", b",train,0,2,", b",train,0,1,"),
        ("pieces.csv", b"train3,0.0,", b"train3,1.0,"),
        ("excluded.csv", b"reason\n", b"reason\ntrain3,0.0,1.0,BAD\n"),
        ("3ch/quality.npy", b"\0", b"\1"),
        ("corpus.json", b'"window_seconds": 2', b'"window_seconds": 1'),
    ],
)
def test_what_could_be_and_was_not_written_is_damage(make_corpus, name, old, new):
    """But in corpora that carry no digests, as earlier versions made them."""
    corpus = make_corpus("pair", MONTAGES)
    path = corpus.path / name
    whole = path.read_bytes()
    head, found, tail = whole.rpartition(old)
    assert found
    path.write_bytes(head + new + tail)
    with pytest.raises(DamageError, match=rf"{name} is not what `prepare` wrote: copy or prepare the corpus again"):
        Corpus.open(corpus.path)
    path.write_bytes(whole)
    changed = without_digests(corpus)
    assert (changed.info.digests, changed.info.digest) == ({}, "")
    content = path.read_bytes()
    path.write_bytes(new.join(content.rsplit(old, 1)))
    assert Corpus.open(corpus.path).address == corpus.address


def test_features_of_another_kind_are_never_imported(make_corpus, tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    corpus = make_corpus("pair", MONTAGES)
    path = corpus.path / "3ch" / "features.json"
    path.write_text(path.read_text().replace("tensorflow_datasets.core.features.text_feature.Text", "trap.Text"))
    with pytest.raises(DamageError, match=r"features\.json names 'trap\.Text', which .* was not imported"):
        Corpus.open(corpus.path)


def test_truncated_missing_and_damaged_shards_are_refused(make_corpus):
    corpus = make_corpus("pair", MONTAGES, recordings_per_shard=1)
    shard = corpus.path / "3ch" / "pieces-signal.array_record-00001-of-00002"
    whole = shard.read_bytes()

    shard.write_bytes(bytes(len(whole)))  # the right size, but nothing in it
    with pytest.raises(InputError, match=f"{shard.name} cannot be read"):
        Corpus.open(corpus.path).windows("test", 2)[0]
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        Corpus.open(corpus.path)
    shard.unlink()
    with pytest.raises(InputError, match=f"lacks the shard {shard.name}"):
        Corpus.open(corpus.path)
    (corpus.path / "2ch" / "dataset_info.json").unlink()
    shard.write_bytes(whole)
    with pytest.raises(InputError, match="2ch"):
        Corpus.open(corpus.path)


def _edit(corpus, change):
    path = corpus.path / "corpus.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
