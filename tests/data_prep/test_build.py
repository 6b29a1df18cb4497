"""Building a corpus from recordings: contents, determinism, resuming, and what becomes of bad input."""

import json
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds
from made_up import MONTAGE, noise, open_arrays, reader_of, write_arrays
from sentences import refuses
from small_table import RECIPE, contents, span, table_of

from labram_jax.data.schema import (
    FINITE_ONLY,
    QUALITY,
    QUALITY_FILE,
    RECORD_SAMPLES,
    RECORD_SECONDS,
    SIGNAL,
    CorpusInfo,
)
from labram_jax.data.tables import Tables
from labram_jax.data_prep.build import build
from labram_jax.data_prep.cleaning.clean import clean
from labram_jax.data_prep.readers.reader import Annotation
from labram_jax.data_prep.table import Split
from labram_jax.errors import InputError


def records(out: Path, montage: str) -> list[dict]:
    return list(tfds.builder_from_directory(out / montage).as_data_source(SIGNAL))


def signal_of(out: Path, montage: str, recording: str) -> np.ndarray:
    parts = [record["eeg"] for record in records(out, montage) if record["recording"].decode() == recording]
    return np.concatenate(parts, axis=1)


def records_of(samples: int) -> int:
    """Returns how many records a piece takes."""
    return math.ceil(samples / RECORD_SAMPLES)


def test_a_corpus_is_the_cleaned_signal_with_its_tables(table, paths, tmp_path):
    out = tmp_path / "out"
    report = build(table, out)
    info = CorpusInfo.read(out)
    assert [(montage.name, montage.seconds) for montage in info.montages] == [("2ch", 21.25), ("6ch", 60.0)]
    assert info.montages[0].electrodes == ("CZ", "PZ") and (info.classes, info.label) == (("rest", "task"), "class")
    assert (info.split_by, info.subjects, info.window_seconds) == ("given", {"train": 4, "test": 4}, 4)
    # The order of the electrodes is that of a montage's first recording, whatever it is in the others.
    electrodes = info.montages[1].electrodes
    assert electrodes == tuple(name.upper() for name in MONTAGE)
    for path in paths[:3]:
        (piece,) = clean(open_arrays(path, "", None), RECIPE, electrodes).pieces
        np.testing.assert_array_equal(signal_of(out, "6ch", path.stem), piece.eeg)
    stored, count = signal_of(out, "2ch", "d"), records_of(4250)
    assert stored.shape == (2, count * RECORD_SAMPLES) and stored[:, 4249].all() and not stored[:, 4250:].any()
    starts = [record["start_seconds"] for record in records(out, "2ch")]
    assert starts == [number * RECORD_SECONDS for number in range(count)]

    tables = Tables.read(out, info)
    columns = ["montage", "recording", "subject", "start_seconds", "samples", "first_record", "first_second"]
    assert tables.pieces[columns].to_numpy().tolist() == [
        ["2ch", "d", "subject-d", 0.0, 4250, 0, 0],
        ["6ch", "a", "subject-a", 0.0, 4000, 0, 0],
        ["6ch", "b", "subject-b", 0.0, 4000, records_of(4000), 20],
        ["6ch", "c", "subject-c", 0.0, 4000, 2 * records_of(4000), 40],
    ]
    assert tables.spans["split"].tolist() == ["train", "test"] * 4 and tables.spans["label"].tolist() == [0, 1] * 4
    assert tables.spans["start"].tolist() == [0, 12] * 4 and tables.spans["stop"].isna().tolist() == [False, True] * 4
    assert tables.excluded.empty
    assert np.load(out / "2ch" / QUALITY_FILE).shape == (22, 2) and np.load(out / "6ch" / QUALITY_FILE).shape == (60, 6)
    assert report.windows == {"train": 12, "test": 8}
    assert report.classes == {"train": {"rest": 12}, "test": {"task": 8}}
    assert sorted(path.name for path in out.iterdir()) == sorted(
        ["2ch", "6ch", "corpus.json", "excluded.csv", "pieces.csv", "quality.json", "recordings.csv", "spans.csv"]
    )


def test_processes_shards_and_repetition_do_not_change_the_bytes(table, tmp_path):
    build(table, tmp_path / "one", jobs=1, recordings_per_shard=1)
    build(table, tmp_path / "two", jobs=2, recordings_per_shard=1)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two and CorpusInfo.read(tmp_path / "one").digest
    assert sum(name.startswith("6ch/") and "array_record" in name for name in one) == 3


def test_the_order_of_processes_does_not_matter_for_what_shards_hold(table, tmp_path):
    build(table, tmp_path / "many", recordings_per_shard=1)
    build(table, tmp_path / "few", recordings_per_shard=8)
    many, few = contents(tmp_path / "many"), contents(tmp_path / "few")
    same = {name for name in few if "array_record" not in name and name.endswith((".csv", ".npy"))}
    same.add("corpus.json")  # with its digests
    assert {name: many[name] for name in same} == {name: few[name] for name in same} and len(same) == 7
    np.testing.assert_array_equal(signal_of(tmp_path / "many", "6ch", "c"), signal_of(tmp_path / "few", "6ch", "c"))


def test_two_montages_of_one_size_have_two_names(tmp_path):
    first = write_arrays(tmp_path / "a.npz", noise(2, 200.0, 5.0), 200.0, ("C4", "C3"))
    second = write_arrays(tmp_path / "b.npz", noise(2, 200.0, 5.0), 200.0, ("O1", "O2"))
    again = write_arrays(tmp_path / "c.npz", noise(2, 200.0, 5.0), 200.0, ("C3", "C4"))
    build(table_of([span(first), span(second), span(again)]), tmp_path / "out")
    info = CorpusInfo.read(tmp_path / "out")
    assert [(entry.name, entry.electrodes) for entry in info.montages] == [
        ("2ch", ("C4", "C3")),
        ("2ch-2", ("O1", "O2")),
    ]
    assert Tables.read(tmp_path / "out", info).pieces["recording"].tolist() == ["a", "c", "b"]


def test_a_broken_recording_is_stored_in_pieces(tmp_path):
    signal = noise(6, 250.0, 60.0)
    signal[:, 5125:6000] = np.nan  # from 20.5 s to 24 s
    signal[2, 12000] = np.nan  # in the second at 48 s, which is 24 s into the second piece
    path = write_arrays(tmp_path / "a.npz", signal, 250.0)
    report = build(table_of([span(path)], window_seconds=4), tmp_path / "out")
    tables = Tables.read(tmp_path / "out", report.info)
    numbers = ["start_seconds", "samples", "first_record", "first_second"]
    assert tables.pieces[numbers].to_numpy().tolist() == [[0, 4100, 0, 0], [24, 7200, records_of(4100), 21]]
    lost = np.load(tmp_path / "out" / "6ch" / QUALITY_FILE) & QUALITY["lost"]
    assert np.argwhere(lost).tolist() == [[45, 2]]
    (second,) = clean(reader_of(signal[:, 6000:], 250.0), RECIPE).pieces
    np.testing.assert_array_equal(
        signal_of(tmp_path / "out", "6ch", "a")[:, records_of(4100) * RECORD_SAMPLES :], second.eeg
    )
    row = pd.read_csv(tmp_path / "out" / "recordings.csv").iloc[0]
    assert (row["pieces"], row["lost_seconds"], row["seconds"], row["train"]) == (2, 3.5, 60.0, 56.5)
    assert row["bad_electrodes"] == "lost 1"
    # Five windows before the gap; of the nine behind it, one holds the lost second: a sixth of its electrodes is bad.
    assert report.windows == {"train": 13} and report.dropped == {"bad electrodes (lost)": 1}
    assert "1 recording in 2 pieces (1 cut)" in str(report)


def open_annotated(path, part, unit):
    """Opens a recording that declares two stretches bad and warns of something."""
    reader = open_arrays(path, part, unit)
    excluded = (Annotation(5.25, 1.5, "BAD_muscle"), Annotation(0.1, 0.2, "bad, with a\ncomma"))
    reader.header = replace(reader.header, excluded=excluded, notes=("The clock was wrong.",))
    return reader


def test_excluded_stretches_and_notes_are_kept(tmp_path):
    path = write_arrays(tmp_path / "a.npz", noise(6, 200.0, 40.0))
    report = build(
        table_of([span(path)], recipe=replace(RECIPE, open=open_annotated), window_seconds=4), tmp_path / "out"
    )
    excluded = Tables.read(tmp_path / "out", report.info).excluded
    assert excluded.to_numpy().tolist() == [
        ["a", 5.25, 6.75, "BAD_muscle"],
        ["a", 0.1, 0.1 + 0.2, "bad, with a comma"],
    ]
    assert report.windows == {"train": 8} and report.dropped == {"annotated as bad": 2}
    assert report.notes == {"The clock was wrong.": 1} and "note (1 recording): The clock was wrong." in str(report)
    assert pd.read_csv(tmp_path / "out" / "recordings.csv")["notes"][0] == "The clock was wrong."


def open_or_fail(path, part, unit):
    """Fails in the header, or later in the samples, as the file's name says."""
    if path.stem == "header":
        raise ZeroDivisionError("float division by zero")
    reader = open_arrays(path, part, unit)
    if path.stem == "samples":
        reader.microvolts = lambda *_: {}["no such block"]
    if path.stem == "closed":
        raise PermissionError(13, "Permission denied", str(path))
    return reader


def test_whatever_a_recording_raises_is_its_reason(paths, tmp_path):
    folder = tmp_path / "bad"
    bad = [
        write_arrays(folder / f"{name}.npz", noise(6, 128.0, 20.0), 128.0) for name in ("header", "samples", "closed")
    ]
    bad.append(write_arrays(folder / "foreign.npz", noise(2, 128.0, 20.0), 128.0, ("E1", "E2")))
    bad.append(write_arrays(folder / "short.npz", noise(6, 128.0, 0.9), 128.0))
    bad.append(write_arrays(folder / "volts.npz", noise(2, 128.0, 20.0) * 1e6, 128.0, ("C3", "C4")))
    bad.append(folder / "missing.npz")
    mixed = table_of(
        [span(path) for path in (paths[0], *bad)],
        recipe=replace(RECIPE, open=open_or_fail),
        unusable=(("x.txt", "No EEG."),),
    )
    report = build(mixed, tmp_path / "o", jobs=2)
    reasons = {entry.recording: entry.reason for entry in report.unusable}
    assert list(reasons) == ["header", "samples", "closed", "foreign", "short", "volts", "missing", "x.txt"]
    for name, says in {
        "header": "It cannot be prepared (ZeroDivisionError: float division by zero).",
        "samples": "It cannot be prepared (KeyError: 'no such block').",
        "closed": "Permission denied",
        "foreign": "known electrode",
        "short": "no second of continuous signal",
        "volts": "unit may be wrong",
        "missing": "FileNotFoundError",
        "x.txt": "No EEG.",
    }.items():
        assert says in reasons[name], reasons[name]
    rows = pd.read_csv(tmp_path / "o" / "recordings.csv", keep_default_na=False)
    assert rows["status"].tolist() == ["used"] + ["unusable"] * 8
    assert rows["reason"].tolist()[1:] == list(reasons.values())
    counts = json.loads((tmp_path / "o" / "quality.json").read_text())
    assert counts["recordings"] == {"used": 1, "unusable": 8}
    assert Tables.read(tmp_path / "o", report.info).spans["recording"].tolist() == ["a"]
    assert [montage.name for montage in report.info.montages] == ["6ch"] and not (tmp_path / "o" / "2ch").exists()
    assert "1 of 9 recordings used" in str(report) and "unusable: x.txt: No EEG." in str(report)


def test_a_name_that_is_no_text_is_a_reason(paths, tmp_path):
    path = write_arrays(tmp_path / os.fsdecode(b"bad \xff.npz"), noise(6, 128.0, 20.0), 128.0)
    report = build(table_of([span(paths[0]), span(path)], unusable=((str(path), "No EEG."),)), tmp_path / "out")
    assert ["no valid UTF-8" in entry.reason for entry in report.unusable] == [True, False]
    assert str(report).encode("utf-8") and "bad \\udcff" in (tmp_path / "out" / "recordings.csv").read_text("utf-8")


def test_names_may_hold_whatever_a_table_can(paths, tmp_path):
    rows = [span(paths[0])._replace(recording=name, path=path) for name, path in zip(' a\n"b,', paths, strict=False)]
    rows += [span(write_arrays(tmp_path / "e.npz", noise(6, 128.0, 20.0), 128.0))._replace(recording="a\rb")]
    report = build(table_of(rows), tmp_path / "out")
    assert [entry.recording for entry in report.unusable] == ["a\\rb"]
    assert "holds a carriage return" in report.unusable[0].reason
    assert sorted(Tables.read(tmp_path / "out", report.info).pieces["recording"]) == sorted(' a\n"')
    rows = pd.read_csv(tmp_path / "out" / "recordings.csv", keep_default_na=False)
    assert rows["recording"].tolist() == [*' a\n"', "a\\rb"]


def test_spans_outside_of_a_recording_are_a_reason(paths, tmp_path):
    table = table_of([span(paths[0], split=None), span(paths[1], 30.0, 40.0, split=None)], split=Split("time"))
    (unusable,) = build(table, tmp_path / "out").unusable
    assert unusable.recording == "b" and "outside of it (the recording has 20.0 s)" in unusable.reason


def test_what_the_table_says_of_a_recording_is_a_note(paths, tmp_path):
    rows = [span(paths[0], 2.0, 8.0), span(paths[0], 25.0, 30.0), span(paths[1])._replace(subject=None)]
    report = build(table_of(rows), tmp_path / "out")
    assert [entry.notes[-1] for entry in report.recordings] == [
        "spans that begin behind its end were left out (1).",
        "nobody says who was recorded: it counts as a subject of its own.",
    ]
    assert report.tables.spans["start"].tolist() == [2.0, 0.0] and report.subjects == {"train": ["b", "subject-a"]}
    assert "(1 recording): nobody says who was recorded" in str(report)


def test_nothing_usable_leaves_nothing_behind(tmp_path):
    foreign = span(write_arrays(tmp_path / "in" / "foreign.npz", noise(2, 200.0, 9.0), 200.0, ("E1", "E2")))
    loud = span(write_arrays(tmp_path / "in" / "loud.npz", noise(6, 200.0, 9.0) * 1e6))
    with refuses("no recordings"):
        build(table_of([]), tmp_path / "out")
    with pytest.raises(InputError, match=r"None of the 1 recordings of small can be used .*not open"):
        build(table_of([], unusable=(("x", "It does not open."),)), tmp_path / "out")
    for spans in ([foreign], [foreign, loud]):
        with pytest.raises(InputError, match=f"None of the {len(spans)} recordings of small can be used"):
            build(table_of(spans), tmp_path / "out")
    with refuses("3 splits"):
        build(table_of([loud._replace(split=None)], split=Split("subject")), tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"]


def test_bad_stretches_cost_their_windows(tmp_path):
    signal = noise(6, 200.0, 40.0)
    signal[0, 2500] = np.nan  # in the window from 12 s
    signal[:3, 4000:4400] += 30_000 * np.sin(np.arange(400) / 3)  # in the window from 20 s
    table = table_of([span(write_arrays(tmp_path / "a.npz", signal))], window_seconds=4)
    report = build(table, tmp_path / "out")
    assert report.windows == {"train": 8}
    assert report.dropped == {"bad electrodes (lost)": 1, "bad electrodes (implausible amplitude)": 1}
    finite = build(replace(table, recipe=replace(RECIPE, quality=FINITE_ONLY)), tmp_path / "finite")
    assert finite.windows == {"train": 9} and finite.dropped == {"lost samples": 1}


def test_values_too_large_for_float16_are_lost_there(tmp_path):
    path = write_arrays(tmp_path / "a.npz", noise(2, 200.0, 8.0, seed=1) * 5000, 200.0, ("C3", "C4"))
    as_it_is = replace(RECIPE, filters=None, quality=FINITE_ONLY)
    narrow = table_of([span(path)], recipe=replace(as_it_is, dtype="float16"), window_seconds=4)
    assert build(narrow, tmp_path / "narrow").dropped == {"lost samples": 2}
    wide = build(table_of([span(path)], recipe=as_it_is, window_seconds=4), tmp_path / "wide")
    assert wide.windows == {"train": 2} and not wide.dropped


class Died(BaseException):
    """What a reader raises here where it would end its process."""


@contextmanager
def mortal_processes(jobs):
    """In place of `workers.processes`: runs jobs here, and gives None for those in which a process would die."""

    def attempt(function, item):
        try:
            return function(item)
        except Died:
            return None

    yield lambda function, items: ((place, attempt(function, item)) for place, item in enumerate(items))


def test_a_recording_that_ends_its_process_is_a_reason(paths, tmp_path, monkeypatch):
    """One dies while its header is read, one later; those beside them, also in its shard, are as without it."""

    def opening(path, part, unit):
        reader = open_arrays(path, part, unit)
        if path.stem == "b":
            raise Died
        if path.stem == "c":
            reader.header = replace(reader.header, pieces=Deadly())
        return reader

    class Deadly:
        def __iter__(self):
            raise Died

    rows = [span(path) for path in paths]
    with monkeypatch.context() as patch:
        patch.setattr("labram_jax.data_prep.build.processes", mortal_processes)
        report = build(table_of(rows, recipe=replace(RECIPE, open=opening)), tmp_path / "out", jobs=2)
    reasons = [(entry.recording, "dies, also when nothing else runs" in entry.reason) for entry in report.unusable]
    assert reasons == [("b", True), ("c", True)]
    build(table_of([rows[0], rows[3]]), tmp_path / "straight")
    for montage, name in (("6ch", "a"), ("2ch", "d")):
        ours, theirs = (signal_of(tmp_path / out, montage, name) for out in ("out", "straight"))
        np.testing.assert_array_equal(ours, theirs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recordings", "straight"]


def test_vector_labels_and_missing_labels(paths, tmp_path):
    vectors = table_of([span(paths[0], 0.0, 4.0, label=(0.5, -1.0)), span(paths[0], 4.0, 8.0)])
    info = build(vectors, tmp_path / "vectors").info
    assert (info.label, info.outputs) == ("vector", 2)
    spans = Tables.read(tmp_path / "vectors", info).spans
    np.testing.assert_array_equal(spans[["label_0", "label_1"]].to_numpy(), [[0.5, -1.0], [np.nan, np.nan]])
    classes = table_of(
        [span(paths[0], 0.0, 4.0, label=1), span(paths[0], 4.0, 8.0)], classes=("a", "b"), window_seconds=2
    )
    report = build(classes, tmp_path / "classes")
    assert (tmp_path / "classes" / "spans.csv").read_text().splitlines()[1:] == [
        "a,subject-a,train,0.0,4.0,1",
        "a,subject-a,train,4.0,8.0,",
    ]
    assert report.classes == {"train": {"no label": 2, "b": 2}}
    unlabelled = build(table_of([span(paths[0])]), tmp_path / "unlabelled").info
    assert unlabelled.label is None and "label" not in Tables.read(tmp_path / "unlabelled", unlabelled).spans


def test_the_report_tells_subjects_splits_and_hours(table, paths, tmp_path):
    text = str(build(table, tmp_path / "out"))
    assert "small, 4 of 4 recordings used" in text
    assert "split as it was given: within subjects, who are in several splits" in text
    assert "train: 0.01 h, 12 windows of 4 s, 4 subjects (subject-a, subject-b, subject-c, subject-d)" in text
    assert "rest 12" in text and "task 8" in text
    by_subject = table_of([span(path, split=None) for path in paths], split=Split("subject", (0.5, 0.25, 0.25)))
    report = build(by_subject, tmp_path / "by-subject")
    assert "within subjects" not in str(report)
    assert {split: len(names) for split, names in report.subjects.items()} == {"train": 2, "validation": 1, "test": 1}
    assert "windows of 16 s" in str(report)


def test_seconds_of_spans_that_overlap_count_once(paths, tmp_path):
    spans = [span(paths[0], 0.0, 8.0, label=0), span(paths[0], 4.0, 10.0, label=1), span(paths[0], 15.0, 99.0, label=1)]
    build(table_of(spans, classes=("a", "b")), tmp_path / "out")
    row = pd.read_csv(tmp_path / "out" / "recordings.csv").iloc[0]
    assert (row["train"], row["validation"], row["test"]) == (15.0, 0.0, 0.0)


def test_preparing_never_imports_jax():
    code = "import sys, labram_jax.data_prep.prepare; print({'jax', 'grain', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
