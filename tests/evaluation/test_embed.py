"""Features in a file: of a corpus with everything known of its windows, and of a recording."""

from pathlib import Path

import mne
import numpy as np
import pytest
from sentences import refuses
from small_runs import MONTAGES, SPLITS, write_corpus

from labram_jax.data.schema import SPLITS as SPLIT_NAMES
from labram_jax.evaluation.embed import embed

WINDOWS = sum(SPLITS.values())


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


def test_windows_of_a_corpus_keep_what_is_known_of_them(trained_encoder, pretraining_run, corpus, tmp_path):
    out = tmp_path / "new" / "features.npz"
    shapes = embed(pretraining_run, corpus.path, out)
    arrays = contents(out)
    assert shapes == {name: array.shape for name, array in arrays.items()} and not list(out.parent.glob("*.part"))
    for configuration in corpus.configurations:
        found = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(configuration.name)}
        assert found["features"].shape == (WINDOWS, 100) and found["features"].dtype == np.float32
        assert tuple(found["electrodes"]) == configuration.electrodes
        assert found["split"].tolist() == [split for split in SPLIT_NAMES for _ in range(SPLITS[split])]
        assert found["label"].tolist() == [number % 2 for split in SPLIT_NAMES for number in range(SPLITS[split])]
        windows = corpus.source(configuration.name, "test")
        eeg = np.stack([windows[number].eeg for number in range(12)])
        expected = trained_encoder.features(eeg, configuration.electrodes)
        np.testing.assert_allclose(found["features"][-12:], expected, atol=2e-5)
        assert found["start_seconds"][-12:].tolist() == [windows[number].start_seconds for number in range(12)]
        assert (found["subject"][-1], found["recording"][-1]) == ("s2", "s2/rest")


def test_tokenizers_write_codes_and_corpora_without_labels_none(trained_tokenizer, tokenizer_run, tmp_path):
    corpus = write_corpus(tmp_path / "plain", MONTAGES[:1], {"train": 12}, label=None)
    out = tmp_path / "codes.npz"
    embed(tokenizer_run, corpus.path, out)
    arrays = contents(out)
    assert arrays["4ch-2s/features"].shape == (12, 4, 2) and arrays["4ch-2s/features"].dtype == np.int32
    assert "4ch-2s/label" not in arrays


@pytest.fixture
def recording(tmp_path) -> Path:
    """Seven seconds of noise at 250 Hz, with one channel that is no electrode."""
    eeg = np.random.default_rng(0).normal(scale=20e-6, size=(5, 1750))
    info = mne.create_info(["EEG Fp1-REF", "EEG Fp2-REF", "EKG", "EEG O1-REF", "EEG O2-REF"], 250.0, "eeg")
    path = tmp_path / "night.edf"
    mne.export.export_raw(path, mne.io.RawArray(eeg, info, verbose="ERROR"), verbose="ERROR")
    return path


def test_a_recording_is_cleaned_and_cut(classifier_run, recording, tmp_path):
    out = tmp_path / "features.npz"
    shapes = embed(classifier_run, recording, out, pool="none", seconds=2, notch=60.0)
    arrays = contents(out)
    assert shapes["4ch-2s/features"] == (3, 4, 2, 100)
    assert arrays["4ch-2s/electrodes"].tolist() == ["FP1", "FP2", "O1", "O2"]
    assert arrays["4ch-2s/start_seconds"].tolist() == [0, 2, 4] and set(arrays["4ch-2s/recording"]) == {"night.edf"}


def test_what_is_there_stays(classifier_run, corpus, tmp_path):
    out = tmp_path / "features.npz"
    out.write_text("mine")
    with refuses("features.npz exists already: choose another name"):
        embed(classifier_run, corpus.path, out)
    assert out.read_text() == "mine"
