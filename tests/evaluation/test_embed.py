"""Features in a file: of a corpus with everything known of its windows, and of a recording."""

from pathlib import Path

import mne
import numpy as np
import pytest
from sentences import refuses
from small_runs import MONTAGES, SPLITS, write_corpus

from labram_jax.data.remote import CACHE
from labram_jax.data.schema import QUALITY
from labram_jax.data.schema import SPLITS as SPLIT_NAMES
from labram_jax.evaluation.embed import embed

WINDOWS = sum(SPLITS.values())


def contents(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return dict(stored)


def test_windows_of_a_corpus_keep_what_is_known_of_them(trained_encoder, pretraining_run, corpus, tmp_path):
    out = tmp_path / "new" / "features.npz"
    shapes, told = embed(pretraining_run, corpus.path, out)
    assert told == ()
    arrays = contents(out)
    assert shapes == {name: array.shape for name, array in arrays.items()} and not list(out.parent.glob("*.part"))
    for number, montage in enumerate(corpus.montages):
        found = {name.partition("/")[2]: a for name, a in arrays.items() if name.startswith(montage.name)}
        assert found["features"].shape == (WINDOWS, 100) and found["features"].dtype == np.float32
        assert tuple(found["electrodes"]) == montage.electrodes and not found["bad"].any()
        assert found["quality"].dtype == np.uint8 and found["quality"].shape == found["bad"].shape
        assert found["split"].tolist() == [split for split in SPLIT_NAMES for _ in range(SPLITS[split])]
        windows = list(corpus.windows("test", seconds=2).montages[number])
        assert found["label"][-12:].tolist() == [window.label for window in windows]
        eeg = np.stack([window.eeg for window in windows])
        expected = trained_encoder.features(eeg, montage.electrodes, sfreq=200)
        np.testing.assert_allclose(found["features"][-12:], expected, atol=2e-5)
        assert found["start_seconds"][-12:].tolist() == [window.start_seconds for window in windows]
        assert (found["subject"][-1], found["recording"][-1]) == (windows[-1].subject, windows[-1].recording)


def test_tokenizers_write_codes_and_corpora_without_labels_none(tokenizer_run, tmp_path, monkeypatch):
    corpus = write_corpus(tmp_path / "plain", MONTAGES[:1], {"train": 12}, label=None)
    out = tmp_path / "codes.npz"
    embed(tokenizer_run, corpus.path, out)
    arrays = contents(out)
    assert arrays["4ch/features"].shape == (12, 4, 2) and arrays["4ch/features"].dtype == np.int32
    assert "4ch/label" not in arrays
    # From an address too, at any length and stride.
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    embed(tokenizer_run, f"file://{corpus.path}", tmp_path / "short.npz", window_seconds=1, stride_seconds=0.5)
    assert contents(tmp_path / "short.npz")["4ch/features"].shape == (36, 4, 1)


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
    shapes, _ = embed(classifier_run, recording, out, pool="none", window_seconds=2, notch=60.0)
    arrays = contents(out)
    assert shapes["4ch/features"] == (3, 4, 2, 100) and not arrays["4ch/bad"].any()
    assert arrays["4ch/electrodes"].tolist() == ["FP1", "FP2", "O1", "O2"]
    assert arrays["4ch/start_seconds"].tolist() == [0, 2, 4] and set(arrays["4ch/recording"]) == {"night.edf"}
    assert "4ch/label" not in arrays


def test_electrodes_are_the_means_of_their_patches_in_a_zarr_group(classifier_run, recording, tmp_path):
    """Before the norm, so that a window of one second says the same of both."""
    zarr = pytest.importorskip("zarr")
    shapes, _ = embed(classifier_run, recording, tmp_path / "e.zarr", pool="electrodes", window_seconds=1)
    embed(classifier_run, recording, tmp_path / "p.npz", pool="none", window_seconds=1)
    group, patches = zarr.open_group(tmp_path / "e.zarr", mode="r"), contents(tmp_path / "p.npz")
    assert shapes["4ch/features"] == (7, 4, 100) and set(group["4ch"].array_keys()) == {n[4:] for n in patches}
    np.testing.assert_allclose(group["4ch/features"][:], patches["4ch/features"][:, :, 0], atol=1e-5)
    for name in ("electrodes", "recording", "subject", "start_seconds", "quality"):
        assert group[f"4ch/{name}"][:].tolist() == patches[f"4ch/{name}"].tolist()


def test_a_folder_of_recordings_has_subjects_and_labels_of_its_manifest(classifier_run, recording, tmp_path):
    (tmp_path / "who.csv").write_text("path,subject,label,stop\nnight.edf,ann,asleep,5\n")
    embed(classifier_run, tmp_path, tmp_path / "f.npz", window_seconds=2, manifest=tmp_path / "who.csv")
    arrays = contents(tmp_path / "f.npz")
    assert arrays["4ch/subject"].tolist() == ["ann"] * 2 and arrays["4ch/label"].tolist() == [0, 0]


def test_what_channels_tsv_says_of_a_recording_counts(classifier_run, recording, tmp_path):
    path = recording.rename(tmp_path / "sub-07_task-rest_eeg.edf")
    rows = ["name\ttype\tstatus", "EEG Fp1-REF\tEOG\tgood", "EEG O2-REF\tEEG\tbad"]
    (tmp_path / "sub-07_task-rest_channels.tsv").write_text("\n".join(rows) + "\n")
    embed(classifier_run, path, tmp_path / "features.npz", window_seconds=2)
    arrays = contents(tmp_path / "features.npz")
    assert arrays["3ch/electrodes"].tolist() == ["FP2", "O1", "O2"]
    assert arrays["3ch/bad"].tolist() == [[False, False, True]] * 3


def test_of_a_recording_lost_stretches_are_left_out_and_bad_electrodes_are_nothing(classifier_run, tmp_path):
    """Twelve electrodes, one of them lost at the end; a stretch lost from 4 to 5 s, and one that is marked as bad."""
    eeg = np.random.default_rng(0).normal(scale=20e-6, size=(12, 200 * 21))
    eeg[:, 800:1000], eeg[3, 3400:] = np.nan, np.nan
    names = ["Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "Cz", "Pz"]
    raw = mne.io.RawArray(eeg, mne.create_info(names, 200.0, "eeg"), verbose="ERROR")
    raw.set_annotations(mne.Annotations([9.5], [0.5], ["BAD cough"]))
    raw.save(tmp_path / "night_raw.fif", verbose="ERROR")
    out = tmp_path / "features.npz"
    _, told = embed(classifier_run, tmp_path / "night_raw.fif", out, pool="none", window_seconds=4)
    assert told[-1] == "left out: 1 windows (annotated as bad)"
    arrays = contents(out)
    assert arrays["12ch/start_seconds"].tolist() == [0, 5, 13, 17]
    assert arrays["12ch/bad"].sum(axis=1).tolist() == [0, 0, 0, 1] and arrays["12ch/bad"][3, 3]
    assert arrays["12ch/quality"].sum(axis=(0, 1)) == arrays["12ch/quality"][3, 3] == QUALITY["lost"]
    assert np.isnan(arrays["12ch/features"]).all(axis=(2, 3)).tolist() == arrays["12ch/bad"].tolist()
    # Or they are there, without features.
    recording = tmp_path / "night_raw.fif"
    embed(classifier_run, recording, tmp_path / "all.npz", pool="none", window_seconds=4, unusable="flag")
    flagged = contents(tmp_path / "all.npz")
    assert flagged["12ch/start_seconds"].tolist() == [0, 5, 9, 13, 17]
    assert flagged["12ch/unusable"].tolist() == ["", "", "annotated as bad", "", ""]
    assert np.isnan(flagged["12ch/features"][2]).all()
    np.testing.assert_allclose(np.delete(flagged["12ch/features"], 2, axis=0), arrays["12ch/features"], atol=1e-5)


def test_what_is_there_stays(classifier_run, corpus, tmp_path):
    out = tmp_path / "features.npz"
    out.write_text("mine")
    with refuses("features.npz exists already: choose another name"):
        embed(classifier_run, corpus.path, out)
    assert out.read_text() == "mine"
