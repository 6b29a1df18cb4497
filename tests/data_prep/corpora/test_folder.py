import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import raw_of
from sentences import refuses

from labram_jax.data.schema import CorpusInfo
from labram_jax.data_prep.corpora.folder import Options, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def subjects(planned) -> dict[str, str | None]:
    return dict(zip(planned.rows["recording"], planned.rows["subject"], strict=True))


def test_recordings_have_no_label_and_bids_says_whose_they_are(tmp_path):
    touch(tmp_path, "sub-01/eeg/sub-01_task-rest_eeg.edf", "sub-02/rest.bdf", "sub-01/sub-01_task-b_eeg.vhdr")
    planned = table(tmp_path, Options())
    assert subjects(planned) == {
        "sub-01/eeg/sub-01_task-rest_eeg": "sub-01",
        "sub-01/sub-01_task-b_eeg": "sub-01",
        "sub-02/rest": "sub-02",
    }
    assert planned.classes is None and planned.rows["label"].isna().all()


def test_the_corpus_has_the_folders_real_name(tmp_path, monkeypatch):
    touch(tmp_path / "study", "sub-01.edf")
    (tmp_path / "link").symlink_to("study")
    monkeypatch.chdir(tmp_path / "study")
    assert {table(source, Options()).name for source in (Path(), Path("../study/."), tmp_path / "link")} == {"study"}


def test_who_was_recorded_is_asked_and_never_guessed(tmp_path):
    names = [f"session{n}/{who}/rest.edf" for n in (1, 2) for who in ("anna", "ben", "cleo", "dora")]
    touch(tmp_path, *names)
    with refuses("8 of 8 recordings .*--subject-pattern REGEX"):
        table(tmp_path, Options())
    for by in ("time", "none"):
        assert len(table(tmp_path, Options(split_by=by)).rows) == 8
    planned = table(tmp_path, Options(subject_pattern=r"session\d/(\w+)/"))
    rows = split_table(planned.rows, planned.split, {})
    assert set(rows["subject"]) == {"anna", "ben", "cleo", "dora"}
    assert (rows.groupby("subject")["split"].nunique() == 1).all()


def test_a_pattern_takes_its_first_group_or_the_whole_match_and_tells_where_it_finds_none(tmp_path):
    touch(tmp_path, "P12_rest.edf", "P3_rest.edf", "other.edf")
    planned = table(tmp_path, Options(subject_pattern=r"P\d+"))
    assert subjects(planned) == {"P12_rest": "P12", "P3_rest": "P3"}
    ((path, reason),) = planned.unusable
    assert path == str(tmp_path / "other.edf") and "finds none in other.edf" in reason
    assert set(subjects(table(tmp_path, Options(subject_pattern=r"P(\d+)|(o)"))).values()) == {"12", "3"}


def test_whole_subjects_are_split_and_the_seed_decides(tmp_path):
    touch(tmp_path, *(f"sub-{i}/{run}.edf" for i in range(10) for run in "ab"))
    tables = [table(tmp_path, Options(seed=seed)) for seed in (0, 0, 1)]
    first, again, other = (split_table(planned.rows, planned.split, {}) for planned in tables)
    assert first.equals(again) and not first.equals(other)
    splits = first[["subject", "split"]].drop_duplicates()["split"]
    assert splits.value_counts().to_dict() == {"train": 8, "validation": 1, "test": 1}


def test_a_manifest_gives_spans_and_classes(tmp_path):
    touch(tmp_path, "a.edf", "b.edf", "unlisted.edf")
    (tmp_path / "m.csv").write_text(
        "path,subject,split,label,start,stop\na.edf,x,train,x,0,5\na.edf,x,train,y,5,\nb.edf,y,test,y,,\n"
    )
    planned = table(tmp_path, Options(manifest=tmp_path / "m.csv"))
    assert (planned.classes, planned.split.by) == (("x", "y"), "given")
    rows = planned.rows.fillna({"stop": -1})
    assert rows[["recording", "start", "stop", "split", "label"]].to_numpy().tolist() == [
        ["a", 0.0, 5.0, "train", 0],
        ["a", 5.0, -1, "train", 1],
        ["b", 0.0, -1, "test", 1],
    ]
    with refuses("already"):
        table(tmp_path, Options(manifest=tmp_path / "m.csv", split_by="time"))


def test_a_manifest_may_leave_subjects_to_the_pattern(tmp_path):
    touch(tmp_path, "s1_a.edf", "s2_a.edf", "s3_a.edf")
    (tmp_path / "m.csv").write_text("path,label\ns1_a.edf,x\ns2_a.edf,y\n")
    planned = table(tmp_path, Options(manifest=tmp_path / "m.csv", subject_pattern="^[^_]+"))
    assert subjects(planned) == {"s1_a": "s1", "s2_a": "s2"}


def test_stretches_of_a_manifest_are_cut_in_time(tmp_path):
    touch(tmp_path, "a.edf")
    (tmp_path / "m.csv").write_text("path,start,stop\na.edf,4,8\na.edf,10,\na.edf,30,40\n")
    planned = table(tmp_path, Options(manifest=tmp_path / "m.csv", split_by="time", fractions=(0.5, 0.0, 0.5)))
    rows = split_table(planned.rows, planned.split, {"a": 20.0})
    assert [*zip(rows["start"], rows["stop"], strict=True)] == [(4, 6), (6, 8), (10, 15), (15, 20)]


def test_events_and_participants_label_a_dataset(tmp_path):
    for subject in ("01", "02", "03"):
        touch(tmp_path, f"sub-{subject}/eeg/sub-{subject}_task-x_eeg.edf")
    events = "onset\tduration\ttrial_type\n1\t2\tright\n4\t3\tleft\n9\t0\tleft\n"
    (tmp_path / "sub-01/eeg/sub-01_task-x_events.tsv").write_text(events)
    (tmp_path / "sub-02/eeg/sub-02_task-x_events.tsv").write_text("onset\tduration\ttrial_type\n9\t0\tleft\n")
    planned = table(tmp_path, Options(events_column="trial_type", split_by="time"))
    assert planned.classes == ("left", "right") and planned.split.events
    assert planned.rows[["start", "stop", "label"]].to_numpy().tolist() == [[1, 3, 1], [4, 7, 0]]
    reasons = " ".join(reason for _, reason in planned.unusable)
    assert "last 0 s" in reasons and "no events.tsv" in reasons
    planned = table(tmp_path, Options(events_column="trial_type", event_seconds=4, split_by="none"))
    assert planned.rows[["start", "stop"]].to_numpy().tolist() == [[1, 5], [4, 8], [9, 13], [9, 13]]
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-01\told\nsub-02\tyoung\n")
    planned = table(tmp_path, Options(participants_column="group", split_by="none"))
    assert (planned.classes, planned.rows["label"].tolist()) == (("old", "young"), [0, 1])
    assert "does not say the group of sub-03" in planned.unusable[0][1]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ((), {}, "holds no EEG recording"),
        (("derivatives/sub-01.edf",), {}, "derivatives and sourcedata do not count"),
        (("sub-01.edf",), {"manifest": Path("absent.csv")}, "no manifest"),
    ],
)
def test_folders_without_recordings_are_refused(tmp_path, names, options, message):
    touch(tmp_path, *names)
    with refuses(message):
        table(tmp_path, Options(**options))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"split_by": "official"}, "'official': choose one of subject, time, none"),
        ({"subject_pattern": "("}, "is no regular expression"),
        ({"manifest": Path("m.csv"), "events_column": "x"}, "manifest and events_column both"),
        ({"event_seconds": 2.0}, "with events_column"),
        ({"event_seconds": 0.0, "events_column": "x"}, "above 0 s"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with refuses(says):
        Options(**options)


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "a.edf")
    with refuses("is one file"):
        table(tmp_path / "a.edf", Options())


def test_a_folder_with_quantities_becomes_a_corpus(write_edf, windows_of, tmp_path):
    for index in range(2):
        root = write_edf(f"s{index}.edf", seconds=9, seed=index).parent
    (root / "broken.edf").write_bytes(b"no recording")
    (root / "m.csv").write_text(
        "path,split,label_0,label_1\ns0.edf,train,1,2\ns1.edf,test,3,4.5\nbroken.edf,train,0,0\n"
    )
    report = prepare("folder", root, tmp_path / "out", Options(manifest=root / "m.csv", jobs=1))
    assert [entry.recording for entry in report.unusable] == ["broken"]
    windows = windows_of(tmp_path / "out", 4)
    assert [(split, window.start_seconds, window.label.tolist()) for split, window in windows] == [
        ("train", 0.0, [1.0, 2.0]),
        ("train", 4.0, [1.0, 2.0]),
        ("test", 0.0, [3.0, 4.5]),
        ("test", 4.0, [3.0, 4.5]),
    ]
    assert windows[0][1].eeg.shape == (6, 800)


def test_events_of_a_dataset_become_windows(write_edf, windows_of, tmp_path):
    for subject in ("01", "02"):
        path = write_edf(f"sub-{subject}/eeg/sub-{subject}_task-x_eeg.edf", rate=200.0, seconds=20)
        path.with_name(f"sub-{subject}_task-x_events.tsv").write_text(
            "onset\tduration\ttrial_type\n1.333\t2\tright\n11\t4\tleft\n"
        )
        path.with_name(f"sub-{subject}_task-x_channels.tsv").write_text(
            "name\ttype\tunits\tstatus\nFp1\tEOG\tuV\tgood\nC3\tEEG\tuV\tbad\n"
        )
    options = Options(events_column="trial_type", fractions=(0.5, 0.0, 0.5), jobs=1, quality="finite")
    report = prepare("folder", path.parents[2], tmp_path / "out", options)
    assert report.info.classes == ("left", "right") and report.info.window_seconds is None
    assert table(path.parents[2], replace(options, event_seconds=3.0)).window_seconds == 3
    assert table(path.parents[2], replace(options, event_seconds=2.5)).window_seconds is None
    windows = windows_of(tmp_path / "out", 2)
    found = [(window.start_seconds, window.label) for split, window in windows if split == "test"]
    assert found == [(pytest.approx(1.335), 1), (11.0, 0), (13.0, 0)]
    assert windows[0][1].electrodes == ("FP2", "C3", "C4", "O1", "O2")


def test_one_recording_in_parts_has_each_window_once(windows_of, tmp_path):
    folder = tmp_path / "study/sub-01/eeg"
    folder.mkdir(parents=True)
    eeg = np.random.default_rng(0).normal(scale=20, size=(6, 150_000))
    raw_of(eeg, 200.0).save(
        folder / "sub-01_task-rest_eeg.fif", split_size="2MB", split_naming="bids", fmt="single", verbose="ERROR"
    )
    assert len(list(folder.iterdir())) > 1
    report = prepare("folder", tmp_path / "study", tmp_path / "out", Options(split_by="time", jobs=1))
    assert len(report.recordings) == 1 and not report.unusable
    windows = [window for _, window in windows_of(tmp_path / "out", 5)]
    assert len(windows) in (148, 149, 150) and len({window.start_seconds for window in windows}) == len(windows)


def test_one_bad_file_ends_nothing(write_edf, windows_of, tmp_path):
    root = write_edf("sub-1.edf", seconds=20).parent
    shutil.copy(root / "sub-1.edf", root / "sub-2.edf")
    shutil.copy(root / "sub-1.edf", root / "sub-3_eeg.edf")
    (root / "gone.edf").symlink_to("nowhere")
    (root / "sub-2.edf").write_bytes(b"")
    (root / "sub-3_channels.tsv").write_bytes(b"\xff\xfe\x00")
    report = prepare("folder", root, tmp_path / "out", Options(split_by="time", jobs=1))
    reasons = {Path(entry.path).name: entry.reason for entry in report.unusable}
    assert "empty" in reasons["sub-2.edf"] and "leads nowhere" in reasons["gone.edf"]
    assert "channels.tsv cannot be read" in reasons["sub-3_eeg.edf"]
    assert {window.recording for _, window in windows_of(tmp_path / "out", 2)} == {"sub-1"}
    assert CorpusInfo.read(tmp_path / "out").split_by == "time"
