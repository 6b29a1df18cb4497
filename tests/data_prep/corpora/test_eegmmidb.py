import shutil

import mne
import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.eegmmidb import TASKS, Options, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table

CHANNELS = ["Fc5.", "C3..", "Cz..", "Fp1.", "Iz.."]
TRIALS = ((0.0, 4.2, "T0"), (4.2, 4.1, "T1"), (8.3, 4.2, "T0"), (12.5, 4.1, "T2"), (16.6, 3.4, "T1"))


@pytest.fixture
def eegmmidb(tmp_path):
    """Runs 1 to 4 of two subjects, 20 s each; runs 3 and 4 have trials. S001R01 goes by a longer name."""
    generator = np.random.default_rng(0)
    root = tmp_path / "eegmmidb"
    for subject in ("S001", "S002"):
        (root / subject).mkdir(parents=True)
        for run in range(1, 5):
            raw = mne.io.RawArray(
                2e-5 * generator.standard_normal((5, 3200)), mne.create_info(CHANNELS, 160.0, "eeg"), verbose="ERROR"
            )
            trials = TRIALS if run > 2 else TRIALS[:1]
            raw.set_annotations(mne.Annotations(*zip(*trials, strict=True)))
            rest = "_first20s" if (subject, run) == ("S001", 1) else ""
            mne.export.export_raw(root / subject / f"{subject}R{run:02d}{rest}.edf", raw, verbose="ERROR")
    return root


def split(planned, seconds=20.0):
    return split_table(planned.rows, planned.split, dict.fromkeys(planned.rows["recording"], seconds))


def test_everything_is_taken_without_labels_by_default(eegmmidb):
    planned = table(eegmmidb, Options())
    assert planned.rows["recording"].tolist()[:2] == ["S001/S001R01_first20s", "S001/S001R02"]
    assert len(planned.rows) == 8
    assert planned.classes is None and planned.window_seconds is None
    first = split(planned)[:2]
    assert [*zip(first["start"], first["stop"], first["split"], strict=True)] == [
        (0.0, 18.0, "train"),
        (18.0, 20.0, "validation"),
    ]


def test_eyes_are_labelled_by_run_and_split_by_subject_on_request(eegmmidb):
    planned = table(eegmmidb, Options(task="eyes", split_by="subject", fractions=(0.5, 0.0, 0.5)))
    rows = split(planned)
    assert [*zip(rows["subject"], rows["label"], strict=True)] == [("S001", 0), ("S001", 1), ("S002", 0), ("S002", 1)]
    assert set(rows["split"]) == {"train", "test"}
    assert len(rows[["subject", "split"]].drop_duplicates()) == 2


def test_trials_are_labelled_by_annotations_and_go_whole_to_a_split(eegmmidb, windows_of, tmp_path):
    planned = table(eegmmidb, Options(task="fists", subjects=(2,), fractions=(0.5, 0.2, 0.3)))
    rows = split(planned)
    assert set(rows["recording"]) == {"S002/S002R03"} and planned.window_seconds == 4
    assert [*zip(rows["start"], rows["stop"], rows["split"], rows["label"], strict=True)] == [
        (pytest.approx(4.2), pytest.approx(8.3), "train", 0),
        (pytest.approx(12.5), pytest.approx(16.6), "validation", 1),
        (pytest.approx(16.6), pytest.approx(20.0), "test", 0),
    ]
    prepare("eegmmidb", eegmmidb, tmp_path / "out", Options(task="fists", jobs=1))
    windows = [window for _, window in windows_of(tmp_path / "out", 4)]
    # The last trial is shorter than a window; the two subjects give one left and one right fist each.
    assert sorted((window.subject, window.label) for window in windows) == [
        ("S001", 0),
        ("S001", 1),
        ("S002", 0),
        ("S002", 1),
    ]
    assert sorted(window.start_seconds for window in windows) == pytest.approx([4.2, 4.2, 12.5, 12.5])


def test_the_split_of_cbramod_goes_by_the_numbers_of_subjects(eegmmidb):
    for subject, run in (("S089", 4), ("S090", 6)):
        (eegmmidb / subject).mkdir()
        shutil.copy(eegmmidb / "S001" / "S001R04.edf", eegmmidb / subject / f"{subject}R{run:02d}.edf")
    planned = table(eegmmidb, Options(task="imagery", split_by="cbramod"))
    rows = split(planned).drop_duplicates(["subject", "label"])
    assert [*zip(rows["subject"], rows["split"], rows["label"], strict=True)] == [
        ("S001", "train", 0),
        ("S001", "train", 1),
        ("S002", "train", 0),
        ("S002", "train", 1),
        ("S089", "validation", 0),
        ("S089", "validation", 1),
        ("S090", "test", 2),
        ("S090", "test", 3),
    ]
    assert planned.split.by == "subject" and planned.window_seconds == 4
    assert planned.recipe.quality.bad_electrodes is None


def test_a_run_without_trials_is_listed(eegmmidb):
    (eegmmidb / "S001" / "S001R02.edf").rename(eegmmidb / "S001" / "S001R07.edf")
    (eegmmidb / "S002" / "S002R07.edf").write_bytes(b"no recording")
    planned = table(eegmmidb, Options(task="fists"))
    assert planned.rows["recording"].nunique() == 2
    reasons = {path.rpartition("/")[2]: reason for path, reason in planned.unusable}
    assert "has no trial" in reasons["S001R07.edf"] and "S002R07.edf" in reasons


def test_without_a_folder_mne_fetches_the_runs_of_the_task(eegmmidb, monkeypatch):
    asked = []

    def load_data(subject, runs, **_):
        asked.append((subject, list(runs)))
        return [eegmmidb / f"S{subject:03d}" / f"S{subject:03d}R{run:02d}.edf" for run in runs]

    monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
    planned = table(None, Options(task="eyes", split_by="none", subjects=(2,)))
    assert asked == [(2, [1, 2])]
    assert planned.rows["recording"].tolist() == ["S002/S002R01", "S002/S002R02"]


def test_without_folder_and_network_it_says_to_give_a_folder(monkeypatch):
    def load_data(*_, **__):
        raise ConnectionError("unreachable")

    monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
    with refuses(r"could not be fetched \(unreachable\); give the folder"):
        table(None, Options())


def test_unknown_tasks_and_folders_without_the_task_are_refused(eegmmidb):
    with refuses(r"'eye': choose one of all, eyes"):
        Options(task="eye")
    for subject in ("S001", "S002"):
        (eegmmidb / subject / f"{subject}R04.edf").unlink()
    with refuses(r"no run of the task 'imagery'.*R06"):
        table(eegmmidb, Options(task="imagery"))


def test_every_class_of_a_task_is_named():
    for task in TASKS.values():
        labels = {
            label
            for run in task.labels.values()
            for label in (run.values() if hasattr(run, "values") else [run])
            if label is not None
        }
        assert labels == set(range(len(task.classes or ())))
