import pytest

from data_prep.corpora import planner
from data_prep.corpora.eegmat import ELECTRODES
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from labram_jax.data.schema import CorpusInfo
from labram_jax.errors import InputError

CHANNELS = [f"EEG {name.capitalize()}" for name in ELECTRODES] + ["EEG A2-A1", "ECG ECG"]


@pytest.fixture
def eegmat(write_edf):
    """Three subjects, whose rest lasts 31 s and whose arithmetic lasts 21 s."""
    for subject in range(3):
        for run, seconds in (1, 31), (2, 21):
            path = write_edf(f"Subject{subject:02d}_{run}.edf", rate=100, seconds=seconds, names=CHANNELS, seed=subject)
    return path.parent


def test_windows_keep_to_their_side_of_the_cut(eegmat, windows_of, tmp_path):
    options = PrepareOptions(fractions=(0.7, 0.0, 0.3), window_seconds=2, stride_seconds=1, jobs=1)
    prepare("eegmat", eegmat, tmp_path / "out", options)
    info = CorpusInfo.read(tmp_path / "out")
    assert info.classes == ("rest", "arithmetic")
    assert [c.electrodes for c in info.configurations] == [ELECTRODES]
    windows = windows_of(tmp_path / "out")
    for window in windows:
        rest = window["recording"].decode().endswith("_1")
        assert window["label"] == (0 if rest else 1)
        cut = 0.7 * (31 if rest else 21)
        if window["split"] == "train":
            assert window["start_seconds"] + 2 <= cut
        else:
            assert window["start_seconds"] >= cut - 1e-3
    assert {split for w in windows if (split := w["split"])} == {"train", "test"}


def test_by_default_validation_is_cut_off_the_training_part(eegmat):
    planned = planner("eegmat")(eegmat, PrepareOptions())
    spans = planned.recordings[0].spans
    assert [(s.split, s.start_seconds, s.stop_seconds) for s in spans] == [
        ("train", 0.0, pytest.approx(18.6)),
        ("validation", pytest.approx(18.6), pytest.approx(21.7)),
        ("test", pytest.approx(21.7), 31.0),
    ]
    assert planned.window_seconds == 4


def test_by_subject_both_recordings_of_a_subject_stay_together(eegmat):
    recordings = planner("eegmat")(eegmat, PrepareOptions(split_by="subject")).recordings
    assert len({(r.subject, r.spans[0].split) for r in recordings}) == 3
    assert [r.spans[0].label for r in recordings] == [0, 1] * 3


def test_old_names_are_renamed_on_request(eegmat):
    electrodes = planner("eegmat")(eegmat, PrepareOptions(rename="old-to-new")).electrodes
    assert {"T7", "T8", "P7", "P8"} < set(electrodes)
    assert not {"T3", "T4", "T5", "T6"} & set(electrodes)


def test_another_folder_is_refused(write_edf):
    with pytest.raises(InputError, match="holds no SubjectNN"):
        planner("eegmat")(write_edf("rest.edf").parent, PrepareOptions())
