"""A file that is reached by several paths is one recording, and never in two splits."""

import os
from pathlib import Path

import pytest
from sentences import refuses

from labram_jax.data_prep.corpora import folder
from labram_jax.data_prep.same_files import each_file_once
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of


@pytest.fixture
def names(tmp_path) -> list[Path]:
    """One file, by a roundabout path, by a symbolic link, and by a hard link; and another one of the same bytes."""
    (tmp_path / "sub").mkdir()
    for name in ("a.edf", "b.edf"):
        (tmp_path / name).write_bytes(b"a recording")
    (tmp_path / "link.edf").symlink_to("a.edf")
    os.link(tmp_path / "a.edf", tmp_path / "hard.edf")
    return [tmp_path / name for name in ("a.edf", "sub/../a.edf", "link.edf", "hard.edf", "b.edf")]


def table_of(names, **fields) -> CorpusTable:
    spans = [Span(path, str(number), "s", **{key: value[number] for key, value in fields.items()})
             for number, path in enumerate(names)]  # fmt: skip
    return CorpusTable("small", rows_of(spans), Split("none"))


def test_one_file_is_one_recording(names):
    once = each_file_once(table_of(names))
    assert once.rows["recording"].tolist() == ["0", "4"]
    assert [path for path, _ in once.unusable] == [str(path) for path in names[1:4]]
    assert "link.edf is the file of '0' under another name" in once.unusable[1][1]
    assert each_file_once(once) is once


def test_parts_of_a_file_and_files_that_are_not_there_are_recordings_of_their_own(names, tmp_path):
    table = table_of([names[0], names[2], tmp_path / "x.edf", tmp_path / "y.edf"], part=["1", "2", "", ""])
    assert each_file_once(table) is table


@pytest.mark.parametrize(
    "fields",
    [{"split": ["train", "validation", "test", "test", "test"]}, {"label": [0, 0, 0, 1, 0]}, {"stop": [5, 6, 5, 5, 5]}],
    ids=["splits", "labels", "stretches"],
)
def test_one_file_in_two_splits_is_refused(names, fields):
    with refuses("are one file, of which two recordings .* say something else"):
        each_file_once(table_of(names, **fields))


def test_a_manifest_cannot_send_one_file_to_three_splits(names, tmp_path):
    lines = tmp_path / "manifest.csv"
    for path in ("sub/../a.edf", "link.edf", "hard.edf"):
        lines.write_text(f"path,subject,split\na.edf,s,train\n{path},s,test\n")
        with refuses("overlaps the one on line 2, which is in another split|are one file"):
            each_file_once(folder.table(tmp_path, folder.Options(manifest=lines)))
