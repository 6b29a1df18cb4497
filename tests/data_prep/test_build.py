"""Building a corpus from recordings: contents, determinism, resuming, and what becomes of bad input."""

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from made_up import MONTAGE, fatal_reader, noise, raw_of

from data_prep import recording
from data_prep.build import build
from data_prep.clean import clean
from data_prep.plan import FINITE_ONLY, CorpusPlan, RecordingPlan, Span
from labram_jax.data.schema import CorpusInfo
from labram_jax.errors import InputError


def planned(path: Path, *spans: Span, **fields) -> RecordingPlan:
    return RecordingPlan(path, path.stem, f"subject-{path.stem}", spans or (Span(),), **fields)


@pytest.fixture
def plan(write_edf) -> CorpusPlan:
    """Three recordings of one montage (the third with its channels in another order) and one of another."""
    two_classes = (Span(0.0, 12.0, "train", 0), Span(12.0, None, "test", 1))
    shuffled = MONTAGE[::-1]
    recordings = (
        planned(write_edf("a.edf", seed=1), *two_classes),
        planned(write_edf("b.edf", seed=2, rate=256.0), *two_classes),
        planned(write_edf("c.edf", seed=3, names=shuffled), *two_classes),
        planned(write_edf("d.edf", seed=4, names=("EEG CZ-REF", "EEG PZ-REF", "EKG")), *two_classes),
    )
    return CorpusPlan("small", recordings, classes=("rest", "task"), window_seconds=4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def records(out: Path, configuration: str, split: str) -> list[dict]:
    return list(tfds.builder_from_directory(out / configuration).as_data_source(split))


def test_windows_are_the_cleaned_signal_under_their_labels(plan, tmp_path):
    report = build(plan, tmp_path / "out", dtype="float32")
    info = CorpusInfo.read(tmp_path / "out")
    assert [(entry.name, entry.splits) for entry in info.configurations] == [
        ("2ch-4s", {"train": 3, "test": 2}),
        ("6ch-4s", {"train": 9, "test": 6}),
    ]
    assert info.classes == ("rest", "task") and info.label == "class"
    assert info.configurations[0].electrodes == ("CZ", "PZ")
    test = records(tmp_path / "out", "6ch-4s", "test")
    assert [record["recording"] for record in test] == [b"a", b"a", b"b", b"b", b"c", b"c"]
    assert [record["start_seconds"] for record in test] == [12.0, 16.0] * 3
    assert {record["label"] for record in test} == {1}
    # The montage of the corpus is that of its first recording, whatever the order in the others.
    electrodes = info.configurations[1].electrodes
    assert electrodes == tuple(name.upper() for name in MONTAGE)
    for index, record in ((1, test[3]), (2, test[5])):
        signal = clean(recording.read(plan.recordings[index].path), electrodes)
        np.testing.assert_array_equal(record["eeg"], signal.eeg[:, 3200:4000])
    assert report.windows == {"train": 12, "test": 8}
    assert report.classes == {"train": {"rest": 12}, "test": {"task": 8}}


def test_processes_shards_and_repetition_do_not_change_the_bytes(plan, tmp_path):
    build(plan, tmp_path / "one", jobs=1, recordings_per_shard=1)
    build(plan, tmp_path / "two", jobs=2, recordings_per_shard=1)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sum("6ch-4s/windows-train" in name for name in one) == 3


def test_a_killed_build_continues_where_it_stopped(plan, tmp_path):
    out, seen, killed_at = tmp_path / "out", [], ["c"]

    def reading(path, group):
        """Each recording is read twice: its header first, then all of it; the build is killed in the latter."""
        seen.append(path.stem)
        if killed_at == [path.stem] and seen.count(path.stem) == 2:
            raise KeyboardInterrupt
        return recording.read(path, group)

    counted = replace(plan, reader=reading)
    with pytest.raises(KeyboardInterrupt):
        build(counted, out, recordings_per_shard=1)
    assert not out.exists() and (tmp_path / "out.partial").exists()
    assert seen == ["a", "b", "c", "d", "d", "a", "b", "c"]
    seen.clear()
    killed_at.clear()
    build(counted, out, recordings_per_shard=1)
    assert seen == ["a", "b", "c", "d", "c"]  # the headers, and the one recording that was missing
    assert not (tmp_path / "out.partial").exists()
    build(plan, tmp_path / "straight", recordings_per_shard=1)
    assert contents(out) == contents(tmp_path / "straight")


def test_an_interrupted_build_of_another_plan_starts_anew(plan, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("data_prep.build.finish_configuration", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit):
            build(plan, tmp_path / "out")
    build(replace(plan, window_seconds=2), tmp_path / "out")
    assert [entry.name for entry in CorpusInfo.read(tmp_path / "out").configurations] == ["2ch-2s", "6ch-2s"]
    assert len(records(tmp_path / "out", "6ch-2s", "train")) == 18


def test_unusable_recordings_are_listed_and_stop_nothing(plan, write_edf, tmp_path):
    truncated = write_edf("truncated.edf")
    truncated.write_bytes(truncated.read_bytes()[:-9000])
    bad = (
        planned(truncated),
        planned(tmp_path / "missing.edf"),
        planned(write_edf("foreign.edf", names=("E1", "E2"))),
        planned(write_edf("short.edf", seconds=3.0)),
    )
    mixed = replace(plan, recordings=plan.recordings[:1] + bad, unusable=(("x.txt", "No EEG."),))
    report = build(mixed, tmp_path / "o")
    reasons = {entry.recording: entry.reason for entry in report.unusable}
    assert list(reasons) == ["truncated", "missing", "foreign", "short", "x.txt"]
    for recording_name, says in {
        "truncated": "truncated",
        "missing": "no file",
        "foreign": "known electrode",
        "short": "no whole window of 4 s",
    }.items():
        assert says in reasons[recording_name]
    with (tmp_path / "o" / "recordings.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["used"] + ["unusable"] * 5
    assert json.loads((tmp_path / "o" / "quality.json").read_text())["recordings"] == {"used": 1, "unusable": 5}
    assert "no whole window" in str(report)


def test_nothing_usable_leaves_nothing_behind(write_edf, tmp_path):
    foreign = planned(write_edf("foreign.edf", names=("E1", "E2")))
    dropped = planned(write_edf("loud.edf", microvolts=noise(6, 128.0, 20.0) * 400))
    for recordings in ((), (foreign,), (foreign, dropped)):
        with pytest.raises(InputError):
            build(CorpusPlan("none", recordings), tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["recordings"]


def test_what_is_there_is_replaced_only_on_request_and_only_by_something_whole(plan, write_edf, tmp_path):
    out = tmp_path / "out"
    build(plan, out)
    before = contents(out)
    with pytest.raises(InputError, match="exists already"):
        build(plan, out)
    with pytest.raises(InputError, match="known electrode"):
        build(CorpusPlan("none", (planned(write_edf("x.edf", names=("E1",))),)), out, overwrite=True)
    assert contents(out) == before
    build(replace(plan, window_seconds=2), out, overwrite=True)
    assert CorpusInfo.read(out).configurations[0].name == "2ch-2s"

    (tmp_path / "diary").mkdir()
    (tmp_path / "diary" / "monday.txt").write_text("dear diary")
    with pytest.raises(InputError, match="not a corpus"):
        build(plan, tmp_path / "diary", overwrite=True)
    (tmp_path / "other.partial").mkdir()
    with pytest.raises(InputError, match="in the way"):
        build(plan, tmp_path / "other")


def test_bad_stretches_cost_their_windows(tmp_path):
    signal = noise(6, 200.0, 40.0)
    signal[0, 2500] = np.nan  # in the window from 12 s
    signal[:3, 4000:4400] += 30_000 * np.sin(np.arange(400) / 3)  # in the window from 20 s
    path = tmp_path / "a_raw.fif"
    raw_of(signal, 200.0).save(path, verbose="ERROR")
    plan = CorpusPlan("damaged", (planned(path),), window_seconds=4)
    report = build(plan, tmp_path / "out")
    assert report.windows == {"train": 8}
    assert report.dropped == {"lost samples": 1, "bad electrodes (implausible amplitude)": 1}
    finite = build(replace(plan, quality=FINITE_ONLY), tmp_path / "finite", dtype="float32")
    assert finite.windows == {"train": 9}


def test_values_too_large_for_float16_ask_for_float32(tmp_path):
    path = tmp_path / "a_raw.fif"
    raw_of(noise(2, 200.0, 8.0, seed=1) * 5000, 200.0, ["C3", "C4"]).save(path, verbose="ERROR")
    plan = CorpusPlan("loud", (planned(path),), window_seconds=4, filters=None, quality=FINITE_ONLY)
    with pytest.raises(InputError, match="ask for float32"):
        build(plan, tmp_path / "out")
    assert build(plan, tmp_path / "out", dtype="float32").windows == {"train": 2}


def test_a_process_that_dies_is_one_sentence(plan, tmp_path):
    with pytest.raises(InputError, match="fewer --jobs"):
        build(replace(plan, reader=fatal_reader), tmp_path / "out", jobs=2)
    assert not (tmp_path / "out").exists()


def test_vector_labels_and_missing_labels(write_edf, tmp_path):
    path = write_edf("a.edf")
    vectors = planned(path, Span(0.0, 4.0, "train", (0.5, -1.0)), Span(4.0, 8.0))
    build(CorpusPlan("regression", (vectors,), window_seconds=4), tmp_path / "vectors")
    first, second = (record["label"] for record in records(tmp_path / "vectors", "6ch-4s", "train"))
    np.testing.assert_array_equal(first, np.float32([0.5, -1.0]))
    assert np.isnan(second).all()
    classes = planned(path, Span(0.0, 4.0, "train", 1), Span(4.0, 8.0))
    build(CorpusPlan("some", (classes,), classes=("a", "b"), window_seconds=4), tmp_path / "classes")
    assert [record["label"] for record in records(tmp_path / "classes", "6ch-4s", "train")] == [1, -1]
    build(CorpusPlan("none", (planned(path),), window_seconds=4), tmp_path / "unlabelled")
    assert "label" not in records(tmp_path / "unlabelled", "6ch-4s", "train")[0]


def test_plans_that_contradict_themselves_are_refused(tmp_path):
    path = tmp_path / "a.edf"
    with pytest.raises(InputError, match="called 'a'"):
        CorpusPlan("twice", (planned(path), planned(path)))
    with pytest.raises(InputError, match="different lengths"):
        CorpusPlan("vectors", (planned(path, Span(label=(1.0,)), Span(label=(1.0, 2.0))),))


def test_preparing_never_imports_jax():
    code = "import sys, data_prep.prepare; print({'jax', 'grain', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
