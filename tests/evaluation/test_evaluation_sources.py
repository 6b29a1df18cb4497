"""Models looked at with recordings that nobody prepared: one file, a folder, a folder with a manifest."""

from pathlib import Path

import mne
import numpy as np
import pytest
from sentences import refuses

from labram_jax.evaluation.evaluate import evaluate_seeds
from labram_jax.evaluation.predict import predict
from labram_jax.evaluation.sources import corpus_of

NAMES = ["EEG Fp1-REF", "EEG Fp2-REF", "EEG O1-REF", "EEG O2-REF"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two recordings of noise of 6 s at 200 Hz, a file that is none, and a manifest with columns of its own."""
    root = tmp_path_factory.mktemp("recordings")
    for number, name in enumerate(("one", "two")):
        eeg = np.random.default_rng(number).normal(scale=20e-6, size=(4, 1200))
        raw = mne.io.RawArray(eeg, mne.create_info(NAMES, 200.0, "eeg"), verbose="ERROR")
        mne.export.export_raw(root / f"{name}.edf", raw, verbose="ERROR")
    (root / "notes.edf").write_text("this is no EEG\n" * 100)
    rows = ["path,subject,label,state,age", "one.edf,a,slow,rest,31", "two.edf,b,middle,rest,32"]
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def test_a_recording_and_a_folder_are_corpora_for_the_moment(folder):
    with corpus_of(folder / "one.edf") as (corpus, told):
        path = corpus.path
        (window, *_) = corpus.windows("test", 2)
        assert len(corpus.windows("test", 2)) == 3 and window.recording == "one.edf"
        assert corpus.info.dtype == "float32"
    assert not path.exists()
    with corpus_of(folder, "validation") as (corpus, told):
        assert corpus.splits == ("validation",) and len(corpus.windows("validation", 2)) == 6
        assert told[0].startswith("not used: ") and "notes.edf" in told[0]
    with refuses(f"The corpus {folder} has no class"), corpus_of(folder) as (corpus, _):
        corpus.windows("test", 2).by_class()


def test_what_cannot_be_looked_at_is_said(folder, corpus):
    with refuses("There is no corpus, recording or folder of recordings absent"), corpus_of("absent"):
        pass
    with refuses("is a corpus, which knows its labels"), corpus_of(corpus.path, manifest=folder / "labels.csv"):
        pass
    with refuses("is one recording: give the folder"), corpus_of(folder / "one.edf", manifest=folder / "labels.csv"):
        pass


def test_models_are_scored_on_recordings(folder, classifier_run):
    with refuses("has the classes none"):
        evaluate_seeds([classifier_run], folder, window_seconds=2)
    scores = evaluate_seeds([classifier_run], folder, window_seconds=2, manifest=folder / "labels.csv")
    assert [(level.unit, level.units) for level in scores.levels] == [("window", 6), ("recording", 2)]


def test_recordings_without_labels_have_predictions(folder, classifier_run, tmp_path):
    told = predict(classifier_run, folder, tmp_path / "found.npz", window_seconds=2)
    assert "notes.edf" in told and "6 windows" in told
    with np.load(tmp_path / "found.npz") as table:
        assert table["recording"].tolist() == ["one"] * 3 + ["two"] * 3
