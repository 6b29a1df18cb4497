import mne
import numpy as np
import pytest

from data_prep.corpora import planner
from data_prep.corpora.eegmmidb import TASKS
from data_prep.options import PrepareOptions
from data_prep.plan import Span
from data_prep.prepare import prepare
from labram_jax.errors import InputError

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


def plan(source, **options):
    return planner("eegmmidb")(source, PrepareOptions(**options))


def test_everything_is_taken_without_labels_by_default(eegmmidb):
    planned = plan(eegmmidb)
    assert [r.recording for r in planned.recordings][:2] == ["S001/S001R01_first20s", "S001/S001R02"]
    assert len(planned.recordings) == 8
    assert planned.classes is None
    assert planned.recordings[0].spans == (Span(0.0, 18.0, "train"), Span(18.0, 20.0, "validation"))


def test_eyes_are_labelled_by_run_and_split_by_subject_on_request(eegmmidb):
    planned = plan(eegmmidb, task="eyes", split_by="subject", fractions=(0.5, 0.0, 0.5))
    assert [(r.subject, r.spans[0].label) for r in planned.recordings] == [
        ("S001", 0),
        ("S001", 1),
        ("S002", 0),
        ("S002", 1),
    ]
    assert {r.spans[0].split for r in planned.recordings} == {"train", "test"}
    assert len({(r.subject, r.spans[0].split) for r in planned.recordings}) == 2


def test_trials_are_labelled_by_annotations_and_go_whole_to_a_split(eegmmidb, windows_of, tmp_path):
    planned = plan(eegmmidb, task="fists", subjects=(2,), fractions=(0.5, 0.2, 0.3))
    assert [r.recording for r in planned.recordings] == ["S002/S002R03"]
    assert [(s.start_seconds, s.stop_seconds, s.split, s.label) for s in planned.recordings[0].spans] == [
        (pytest.approx(4.2), pytest.approx(8.3), "train", 0),
        (pytest.approx(12.5), pytest.approx(16.6), "validation", 1),
        (pytest.approx(16.6), pytest.approx(20.0), "test", 0),
    ]
    prepare("eegmmidb", eegmmidb, tmp_path / "out", PrepareOptions(task="fists", jobs=1))
    windows = windows_of(tmp_path / "out")
    # The last trial is shorter than a window; the two subjects give one left and one right fist each.
    assert sorted((w["subject"].decode(), int(w["label"])) for w in windows) == [
        ("S001", 0),
        ("S001", 1),
        ("S002", 0),
        ("S002", 1),
    ]
    assert all(w["configuration"] == "5ch-4s" for w in windows)


def test_a_run_without_trials_is_listed(eegmmidb):
    (eegmmidb / "S001" / "S001R02.edf").rename(eegmmidb / "S001" / "S001R07.edf")
    planned = plan(eegmmidb, task="fists")
    assert len(planned.recordings) == 2
    assert "has no trial" in planned.unusable[0][1]


def test_without_a_folder_mne_fetches_the_runs_of_the_task(eegmmidb, monkeypatch):
    asked = []

    def load_data(subject, runs, **_):
        asked.append((subject, list(runs)))
        return [eegmmidb / f"S{subject:03d}" / f"S{subject:03d}R{run:02d}.edf" for run in runs]

    monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
    planned = plan(None, task="eyes", split_by="none", subjects=(2,))
    assert asked == [(2, [1, 2])]
    assert [r.recording for r in planned.recordings] == ["S002/S002R01", "S002/S002R02"]


def test_without_folder_and_network_it_says_to_give_a_folder(monkeypatch):
    def load_data(*_, **__):
        raise ConnectionError("unreachable")

    monkeypatch.setattr(mne.datasets.eegbci, "load_data", load_data)
    with pytest.raises(InputError, match=r"could not be fetched \(unreachable\); give the folder"):
        plan(None)


def test_unknown_tasks_and_folders_without_the_task_are_refused(eegmmidb):
    with pytest.raises(InputError, match=r"'eye'; choose one of all, eyes"):
        plan(eegmmidb, task="eye")
    with pytest.raises(InputError, match=r"no run of the task 'imagery'.*R06"):
        (eegmmidb / "S001" / "S001R04.edf").unlink()
        (eegmmidb / "S002" / "S002R04.edf").unlink()
        plan(eegmmidb, task="imagery")


def test_every_class_of_a_task_is_named():
    for task in TASKS.values():
        labels = {
            label
            for run in task.labels.values()
            for label in (run.values() if hasattr(run, "values") else [run])
            if label is not None
        }
        assert labels == set(range(len(task.classes or ())))
