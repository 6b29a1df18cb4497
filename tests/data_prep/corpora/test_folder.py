from pathlib import Path

import pytest

from data_prep.corpora import planner
from data_prep.corpora.folder import find_recordings, subject_of
from data_prep.options import PrepareOptions
from data_prep.plan import Span
from data_prep.prepare import prepare
from labram_jax.errors import InputError


def plan(source, **options):
    return planner("folder")(source, PrepareOptions(**options))


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_recordings_are_found_and_their_companions_are_not(tmp_path):
    touch(tmp_path, "b/x.vhdr", "b/x.eeg", "b/x.vmrk", "a.EDF", "c_raw.fif", "c_raw-1.fif", "d.fif.gz", "e.eeg")
    touch(tmp_path, "notes.txt", ".hidden/f.edf", ".g.edf", "h.mff/signal1.bin", "h.mff/inner.edf")
    found = [path.relative_to(tmp_path).as_posix() for path in find_recordings(tmp_path)]
    assert found == ["a.EDF", "b/x.vhdr", "c_raw.fif", "d.fif.gz", "e.eeg", "h.mff"]


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("sub-07/ses-1/eeg/sub-07_task-rest_eeg.edf", "sub-07"),
        ("anna/session1/rest.edf", "anna"),
        ("Subject03_2.edf", "Subject03"),
        ("night.edf", "night"),
    ],
)
def test_the_subject_follows_from_the_path(path, subject):
    assert subject_of(Path("/data") / path, Path("/data")) == subject


def test_recordings_of_one_name_are_told_apart(tmp_path):
    touch(tmp_path, "s/x.edf", "s/x.bdf", "t/x.edf")
    assert [r.recording for r in plan(tmp_path, split_by="none").recordings] == ["s/x.bdf", "s/x.edf", "t/x"]


def test_whole_subjects_are_split_and_the_seed_decides(tmp_path):
    touch(tmp_path, *(f"s{i}/{run}.edf" for i in range(10) for run in "ab"))
    recordings = plan(tmp_path).recordings
    splits = {(r.subject, r.spans[0].split) for r in recordings}
    assert len(splits) == 10
    assert sorted(split for _, split in splits) == ["test", "train", "train", *["train"] * 6, "validation"]
    assert {(r.subject, r.spans[0].split) for r in plan(tmp_path, seed=1).recordings} != splits


def test_split_in_time_lists_what_cannot_be_read(write_edf):
    root = write_edf("a.edf", seconds=20).parent
    (root / "b.edf").write_bytes(b"no recording")
    planned = plan(root, split_by="time", fractions=(0.5, 0.0, 0.5))
    assert planned.recordings[0].spans == (Span(0.0, 10.0, "train"), Span(10.0, 20.0, "test"))
    assert [path for path, _ in planned.unusable] == [str(root / "b.edf")]


def test_a_manifest_gives_spans_and_classes(tmp_path):
    touch(tmp_path, "a.edf", "b.edf", "unlisted.edf")
    (tmp_path / "m.csv").write_text(
        "path,split,label,start,stop\na.edf,train,x,0,5\na.edf,test,y,5,\nb.edf,train,y,,\n"
    )
    planned = plan(tmp_path, manifest=tmp_path / "m.csv")
    assert planned.classes == ("x", "y")
    assert [(r.recording, r.spans) for r in planned.recordings] == [
        ("a", (Span(0.0, 5.0, "train", 0), Span(5.0, None, "test", 1))),
        ("b", (Span(0.0, None, "train", 1),)),
    ]
    with pytest.raises(InputError, match="already"):
        plan(tmp_path, manifest=tmp_path / "m.csv", split_by="time")


def test_stretches_of_a_manifest_are_cut_in_time(write_edf):
    root = write_edf("a.edf", seconds=20).parent
    (root / "m.csv").write_text("path,start,stop\na.edf,4,8\na.edf,10,\na.edf,30,40\n")
    planned = plan(root, manifest=root / "m.csv", split_by="time", fractions=(0.5, 0.0, 0.5))
    assert [(s.start_seconds, s.stop_seconds) for s in planned.recordings[0].spans] == [
        (4, 6),
        (6, 8),
        (10, 15),
        (15, 20),
    ]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ((), {}, "holds no EEG recording"),
        (("a.edf", "b.edf"), {}, "2 subject"),
        (("a.edf",), {"split_by": "official"}, "cannot be split by 'official'"),
        (("a.edf",), {"manifest": Path("absent.csv")}, "no manifest"),
    ],
)
def test_what_cannot_be_planned_is_refused(tmp_path, names, options, message):
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=message):
        plan(tmp_path, **options)


def test_a_file_is_no_folder(tmp_path):
    touch(tmp_path, "a.edf")
    with pytest.raises(InputError, match="is one file"):
        plan(tmp_path / "a.edf")


def test_a_folder_with_quantities_becomes_a_corpus(write_edf, windows_of, tmp_path):
    for index in range(2):
        root = write_edf(f"s{index}.edf", seconds=9, seed=index).parent
    (root / "broken.edf").write_bytes(b"no recording")
    (root / "m.csv").write_text(
        "path,split,label_0,label_1\ns0.edf,train,1,2\ns1.edf,test,3,4.5\nbroken.edf,train,0,0\n"
    )
    report = prepare(
        "folder", root, tmp_path / "out", PrepareOptions(manifest=root / "m.csv", window_seconds=4, jobs=1)
    )
    assert [entry.recording for entry in report.unusable] == ["broken"]
    windows = windows_of(tmp_path / "out")
    assert [(w["split"], w["start_seconds"], w["label"].tolist()) for w in windows] == [
        ("train", 0.0, [1.0, 2.0]),
        ("train", 4.0, [1.0, 2.0]),
        ("test", 0.0, [3.0, 4.5]),
        ("test", 4.0, [3.0, 4.5]),
    ]
    assert windows[0]["eeg"].shape == (6, 800)
