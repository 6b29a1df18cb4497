import json

import numpy as np
import pytest
import tensorflow_datasets as tfds

from labram_jax.data.corpus import Corpus
from labram_jax.errors import InputError

MONTAGES = [(3, 2, {"train": 5, "test": 3}), (2, 4, {"train": 4})]


def test_windows_come_back_as_they_were_written(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    source = corpus.source("3ch-2s", "train")
    generator = np.random.default_rng(len("pair"))
    written = [generator.normal(scale=30, size=(3, 400)).astype(np.float16) for _ in range(5)]
    assert len(source) == 5
    for number, eeg in enumerate(written):
        window = source[number]
        np.testing.assert_array_equal(window.eeg, eeg)
        assert window.eeg.dtype == np.float16
        assert (window.subject, window.recording) == (f"s{number % 3}", f"s{number % 3}/rest")
        assert (window.label, window.start_seconds) == (number % 2, float(number))
    with pytest.raises(IndexError):
        source[5]


def test_a_configuration_is_a_tfds_dataset(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    builder = tfds.builder_from_directory(corpus.path / "2ch-4s")
    assert builder.info.splits["train"].num_examples == 4
    assert builder.as_data_source("train")[3]["eeg"].shape == (2, 800)


def test_labels_may_be_vectors_or_absent(make_corpus):
    vectors = make_corpus("vectors", MONTAGES, label="vector", outputs=2)
    np.testing.assert_array_equal(vectors.source("2ch-4s", "train")[1].label, [1, 2])
    assert make_corpus("bare", MONTAGES, label=None).source("2ch-4s", "train")[0].label is None


def test_description_says_what_is_there(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    text = corpus.describe()
    assert corpus.windows("train") == 9 and corpus.windows("validation") == 0
    for part in ("pair", "closed, open", "3 electrodes x 2 s = 6 patches", "train 5, test 3", "FP1 FPZ FP2"):
        assert part in text


def test_an_unknown_configuration_or_split_is_refused(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    with pytest.raises(InputError, match="3ch-2s, 2ch-4s"):
        corpus.source("9ch-2s", "train")
    with pytest.raises(InputError, match="no windows in the split 'test'"):
        corpus.source("2ch-4s", "test")


def test_a_folder_that_is_no_corpus_is_refused(tmp_path):
    with pytest.raises(InputError, match="no corpus"):
        Corpus.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"not a corpus .*corpus\.json"):
        Corpus.open(tmp_path)
    (tmp_path / "corpus.json").write_text("{not json")
    with pytest.raises(InputError, match="cannot be read"):
        Corpus.open(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format 99"),
        ({"units": "volts"}, "volts"),
        ({"configurations": [{"name": "3ch-2s"}]}, "damaged"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(make_corpus, change, message):
    corpus = make_corpus("pair", MONTAGES)
    _edit(corpus, lambda content: content.update(change))
    with pytest.raises(InputError, match=message):
        Corpus.open(corpus.path)


def test_a_montage_without_embedding_rows_is_refused(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    _edit(corpus, lambda content: content["configurations"][0].update(electrodes=["FP1", "FPZ", "XYZ"]))
    with pytest.raises(InputError, match=r"3ch-2s.*XYZ"):
        Corpus.open(corpus.path)


def test_counts_that_disagree_are_refused(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    _edit(corpus, lambda content: content["configurations"][0]["splits"].update(train=6))
    with pytest.raises(InputError, match="'train': 5"):
        Corpus.open(corpus.path)


def test_truncated_missing_and_damaged_shards_are_refused(make_corpus):
    corpus = make_corpus("pair", MONTAGES)
    shard = corpus.path / "3ch-2s" / "windows-train.array_record-00001-of-00002"
    whole = shard.read_bytes()

    shard.write_bytes(bytes(len(whole)))  # the right size, but nothing in it
    with pytest.raises(InputError, match="cannot be read"):
        Corpus.open(corpus.path).source("3ch-2s", "train")[4]
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        Corpus.open(corpus.path)
    shard.unlink()
    with pytest.raises(InputError, match=f"lacks the shard {shard.name}"):
        Corpus.open(corpus.path)
    (corpus.path / "2ch-4s" / "dataset_info.json").unlink()
    shard.write_bytes(whole)
    with pytest.raises(InputError, match="2ch-4s"):
        Corpus.open(corpus.path)


def _edit(corpus, change):
    path = corpus.path / "corpus.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
