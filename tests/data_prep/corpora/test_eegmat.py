import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.eegmat import ELECTRODES, Options, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table

CHANNELS = [f"EEG {name.capitalize()}" for name in ELECTRODES] + ["EEG A2-A1", "ECG ECG"]


@pytest.fixture
def eegmat(write_edf):
    """Three subjects, whose rest lasts 31 s and whose arithmetic lasts 21 s."""
    for subject in range(3):
        for run, seconds in (1, 31), (2, 21):
            path = write_edf(f"Subject{subject:02d}_{run}.edf", rate=100, seconds=seconds, names=CHANNELS, seed=subject)
    return path.parent


def test_by_default_both_recordings_of_a_subject_stay_together(eegmat):
    planned = table(eegmat, Options())
    assert (planned.classes, planned.window_seconds) == (("rest", "arithmetic"), 4)
    assert planned.split.fractions == (0.6, 0.2, 0.2)
    rows = split_table(planned.rows, planned.split, {})
    assert len(rows[["subject", "split"]].drop_duplicates()) == 3 and set(rows["split"]) == {
        "train",
        "validation",
        "test",
    }
    assert rows["label"].tolist() == [0, 1] * 3


def test_by_time_validation_is_cut_off_the_training_part(eegmat):
    planned = table(eegmat, Options(split_by="time"))
    rows = split_table(planned.rows, planned.split, dict.fromkeys(planned.rows["recording"], 31.0))
    first = rows[rows["recording"] == "Subject00_1"]
    assert [*zip(first["split"], first["start"], first["stop"], strict=True)] == [
        ("train", 0.0, pytest.approx(18.6)),
        ("validation", pytest.approx(18.6), pytest.approx(21.7)),
        ("test", pytest.approx(21.7), 31.0),
    ]


def test_windows_keep_to_their_side_of_the_cut(eegmat, windows_of, tmp_path):
    options = Options(split_by="time", fractions=(0.7, 0.0, 0.3), jobs=1)
    report = prepare("eegmat", eegmat, tmp_path / "out", options)
    assert [entry.electrodes for entry in report.info.montages] == [ELECTRODES]
    windows = windows_of(tmp_path / "out", 2, 1)
    for split, window in windows:
        rest = window.recording.endswith("_1")
        assert window.label == (0 if rest else 1)
        cut = 0.7 * (31 if rest else 21)
        if split == "train":
            assert window.start_seconds + 2 <= cut
        else:
            assert window.start_seconds >= cut - 1e-3
    assert {split for split, _ in windows} == {"train", "test"}


def test_one_corpus_serves_every_window(eegmat, windows_of, tmp_path):
    prepare("eegmat", eegmat, tmp_path / "out", Options(split_by="none", jobs=1))
    counts = {(4, 1): 3 * (28 + 18), (4, 4): 3 * (7 + 5), (5, 5): 3 * (6 + 4)}
    for (seconds, stride), count in counts.items():
        windows = windows_of(tmp_path / "out", seconds, stride)
        assert len(windows) == count
        assert all(window.eeg.shape == (19, 200 * seconds) and np.isfinite(window.eeg).all() for _, window in windows)


def test_the_split_of_cbramod_goes_by_the_numbers_of_subjects(eegmat, write_edf):
    for old, new in (("01", "28"), ("02", "35")):
        for run in (1, 2):
            (eegmat / f"Subject{old}_{run}.edf").rename(eegmat / f"Subject{new}_{run}.edf")
    planned = table(eegmat, Options(split_by="cbramod"))
    rows = split_table(planned.rows, planned.split, {})
    assert dict(zip(rows["subject"], rows["split"], strict=True)) == {
        "Subject00": "train",
        "Subject28": "validation",
        "Subject35": "test",
    }
    assert planned.split.by == "subject" and planned.window_seconds == 5 and "CBraMod" in planned.provenance
    assert planned.recipe.quality.bad_electrodes is None
    with refuses("names its subjects: leave fractions out"):
        Options(split_by="cbramod", fractions=(0.6, 0.2, 0.2))
    write_edf("Subject36_1.edf")
    with refuses("knows no subject 36"):
        table(eegmat, Options(split_by="cbramod"))


def test_old_names_are_renamed_on_request(eegmat):
    electrodes = table(eegmat, Options(names="old-to-new")).recipe.electrodes
    assert {"T7", "T8", "P7", "P8"} < set(electrodes)
    assert not {"T3", "T4", "T5", "T6"} & set(electrodes)


def test_another_folder_is_refused(write_edf):
    with refuses("holds no SubjectNN"):
        table(write_edf("rest.edf").parent, Options())
