"""A table of four small recordings, of which builds are made, and what lies in a folder then."""

import math
from pathlib import Path

import pytest
from made_up import MONTAGE, noise, open_arrays, write_arrays

from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of

RECIPE = Recipe(dtype="float32", open=open_arrays)


def span(path: Path, *times: float, **fields) -> Span:
    start, stop = times or (0.0, math.nan)
    return Span(path, path.stem, f"subject-{path.stem}", **{"split": "train", "start": start, "stop": stop, **fields})


def table_of(spans, **fields) -> CorpusTable:
    return CorpusTable("small", rows_of(spans), **{"split": Split("given"), "recipe": RECIPE, **fields})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Three recordings of one montage (the third with its channels in another order) and one of another."""
    folder = tmp_path / "recordings"
    others = ("EEG CZ-REF", "EEG PZ-REF", "EKG")
    return [
        write_arrays(folder / "a.npz", noise(6, 128.0, 20.0, seed=1), 128.0),
        write_arrays(folder / "b.npz", noise(6, 256.0, 20.0, seed=2), 256.0),
        write_arrays(folder / "c.npz", noise(6, 128.0, 20.0, seed=3), 128.0, MONTAGE[::-1]),
        write_arrays(folder / "d.npz", noise(3, 128.0, 21.25, seed=4), 128.0, others),
    ]


@pytest.fixture
def table(paths) -> CorpusTable:
    spans = []
    for path in paths:
        spans += [span(path, 0.0, 12.0, label=0), span(path, 12.0, math.nan, split="test", label=1)]
    split = Split("given", allow_shared_subjects=True)
    return table_of(spans, split=split, classes=("rest", "task"), window_seconds=4)
