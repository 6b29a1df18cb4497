"""The manifest of a folder: a CSV file that says which stretch of which recording has which label and split.

One line is one stretch; several lines of one path are several stretches of one recording. Columns, of which only
`path` is required (others are left alone):

    path          relative to the folder of the recordings, or absolute
    subject       who was recorded; the same on all lines of a path
    split         train, validation or test; on every line or on none
    start, stop   seconds from the recording's start; empty is its start and its end
    label         names or whole numbers: classes, sorted (numbers by value); numbers of which one is written
                  with a dot or an exponent (0.5, 1.0, 2e3): a quantity to be regressed
    label_0, ...  instead of `label`: a vector of quantities to be regressed

A label stands on every line or on none.
"""

import difflib
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from labram_jax.data.schema import SPLITS
from labram_jax.errors import InputError

COLUMNS = ("path", "subject", "split", "label", "start", "stop")
_SECONDS = ("start", "stop")

_VECTOR = re.compile(r"label_\d+")

Label = int | tuple[float, ...] | None


class Manifest(NamedTuple):
    """The lines of a manifest, by their number, and the names of its classes (None: quantities, or no labels).

    `lines` has the columns `COLUMNS`: Path, text or None, text or None, `Label`, seconds, seconds (NaN is the end).
    """

    lines: pd.DataFrame
    classes: tuple[str, ...] | None


def read_manifest(file: Path, root: Path) -> Manifest:
    """Reads a manifest whose relative paths start at `root`.

    Raises:
      InputError: the file is absent or no such table, or a line of it cannot be used; the line's number is said.
    """
    cells = _cells(file)
    labels, classes = _labels(cells, file)
    lines = pd.DataFrame(
        {
            "path": _paths(cells, file, root),
            "subject": _texts(cells, "subject"),
            "split": _texts(cells, "split"),
            "label": pd.Series(labels, cells.index, dtype=object),
            "start": _numbers(cells, "start", file).fillna(0.0),
            "stop": _numbers(cells, "stop", file),
        }
    )
    _check_lines(lines, file)
    _refuse_contradictions(lines, file)
    return Manifest(lines, classes)


def sorted_classes(texts: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Returns the class of each text, and the classes: names sorted as text, whole numbers by value."""
    if all(re.fullmatch(r"[+-]?\d+", text) for text in texts):
        texts = [str(int(text)) for text in texts]
        classes = tuple(sorted(set(texts), key=int))
    else:
        classes = tuple(sorted(set(texts)))
    return [classes.index(text) for text in texts], classes


def _cells(file: Path) -> pd.DataFrame:
    """Returns the stripped cells of a CSV file, by column and by number of the line."""
    try:
        cells = pd.read_csv(
            file,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,  # lines keep their numbers
            encoding="utf-8-sig",
            engine="python",  # the other engine does not tell a cell that is lacking from an empty one
        )
    except FileNotFoundError:
        raise InputError(f"There is no manifest {file}; give the CSV file that lists the recordings.") from None
    except pd.errors.EmptyDataError:
        raise InputError(f"{file} is empty and so has no column 'path'; name the columns, of {_known()}.") from None
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors, and so are those of decoding
        if match := re.search(r"Expected \d+ fields in line (\d+)", str(error)):
            raise InputError(
                f"{file}, line {match[1]}: it has not as many cells as the header; mend the line."
            ) from None
        raise InputError(f"{file} cannot be read as a CSV file: {' '.join(str(error).split()).rstrip('.')}.") from None
    cells.index += 1
    cells = cells.dropna(how="all")
    columns = [str(name).strip() for name in cells.iloc[0]] if len(cells) else []
    _check_columns(columns, file)
    cells = cells.iloc[1:].set_axis(columns, axis=1)
    if cells.isna().any(axis=None):
        number = cells.index[cells.isna().any(axis=1)][0]
        raise InputError(f"{file}, line {number}: it has not as many cells as the header; mend the line.")
    if cells.empty:
        raise InputError(f"{file} lists no recording; add a line for each.")
    cells = cells.apply(lambda column: column.str.strip())
    _refuse_misspelt(cells, file)
    return cells


def _check_columns(columns: Sequence[str], file: Path) -> None:
    if "path" not in columns:
        raise InputError(f"{file} has no column 'path'; its first line must name the columns, of {_known()}.")
    for column in columns:
        if columns.count(column) > 1:
            raise InputError(f"{file} has the column {column!r} twice; remove one.")


def _refuse_misspelt(cells: pd.DataFrame, file: Path) -> None:
    """A column of one's own is left alone, but one that is misspelt would be lost."""
    lacking = [name for name in COLUMNS if name not in cells]
    for column in (name for name in cells if name not in COLUMNS and not _VECTOR.fullmatch(name)):
        meant = difflib.get_close_matches(column, lacking, n=1, cutoff=0.75)
        # `state` or `step` is no misspelt start or stop where it holds words.
        if meant and not (meant[0] in _SECONDS and pd.to_numeric(cells[column], errors="coerce").isna().any()):
            raise InputError(
                f"{file} has a column {column!r}, which is unknown; call it {meant[0]!r} if it is that, or else give "
                "it a name that is less alike."
            )


def _known() -> str:
    return ", ".join((*COLUMNS, "label_0, label_1, ..."))


def _paths(cells: pd.DataFrame, file: Path, root: Path) -> pd.Series:
    """Returns the path of each line; one file has one path, whatever links lead to it."""
    first: dict[str, Path] = {}
    paths = []
    for number, text in cells["path"].items():
        path = root / text
        if not text or not _exists(path):
            missing = str(path).replace("\0", "\\0")
            raise InputError(f"{file}, line {number}: there is no file {missing}; correct the path or remove the line.")
        paths.append(first.setdefault(os.path.realpath(path), path))
    return pd.Series(paths, cells.index, dtype=object)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except PermissionError:
        return True  # the build says that it may not be read
    except (OSError, ValueError):  # the latter for a NUL, which no name holds
        return False
    return True


def _texts(cells: pd.DataFrame, column: str) -> pd.Series:
    """Returns the texts of a column, None where it has none."""
    texts = cells[column] if column in cells else [""] * len(cells)
    return pd.Series([text or None for text in texts], cells.index, dtype=object)


def _numbers(cells: pd.DataFrame, column: str, file: Path) -> pd.Series:
    """Returns the numbers of a column, NaN where it has none."""
    texts = cells[column] if column in cells else pd.Series("", cells.index)
    numbers = pd.to_numeric(texts, errors="coerce")
    wrong = (texts != "") & ~np.isfinite(numbers)
    if wrong.any():
        number = wrong.idxmax()
        raise InputError(f"{file}, line {number}: {texts[number]!r} is not a number; write one such as 12 or 0.5.")
    return numbers.astype(np.float64)


def _labels(cells: pd.DataFrame, file: Path) -> tuple[list[Label], tuple[str, ...] | None]:
    """Returns a label a line, and the classes if the labels are classes."""
    parts = sorted((name for name in cells if _VECTOR.fullmatch(name)), key=lambda name: int(name[6:]))
    if parts and "label" in cells:
        raise InputError(f"{file} has both 'label' and 'label_0'; keep the one that you mean.")
    if parts:
        if parts != [f"label_{index}" for index in range(len(parts))]:
            raise InputError(f"{file} has the columns {', '.join(parts)}; number them label_0, label_1, ... in turn.")
        _all_or_none(cells[parts].ne("").all(axis=1), "label", file)
        return [*map(tuple, np.stack([_numbers(cells, part, file) for part in parts], axis=1).tolist())], None
    texts = _texts(cells, "label")
    _all_or_none(texts.notna(), "label", file)
    if texts.isna().all():
        return [None] * len(texts), None
    numbers = pd.to_numeric(texts, errors="coerce")
    if np.isfinite(numbers).all() and not texts.str.fullmatch(r"[+-]?\d+").all():
        return [(float(value),) for value in numbers], None
    return sorted_classes(texts.tolist())


def _all_or_none(present: pd.Series, column: str, file: Path) -> None:
    if present.any() and not present.all():
        raise InputError(
            f"{file}, line {present.idxmin()}: it has no {column}, but other lines do; fill in all or none."
        )


def _check_lines(lines: pd.DataFrame, file: Path) -> None:
    _all_or_none(lines["split"].notna(), "split", file)
    for number, (split, start, stop) in zip(lines.index, lines[["split", "start", "stop"]].to_numpy(), strict=True):
        where = f"{file}, line {number}"
        if split is not None and split not in SPLITS:
            raise InputError(f"{where}: {split!r} is not a split; write one of {', '.join(SPLITS)}.")
        if start < 0:
            raise InputError(f"{where}: a stretch starts at 0 s or later, not at {start:g} s.")
        if stop <= start:
            raise InputError(
                f"{where}: the stretch from {start:g} s to {stop:g} s is empty; let it stop after its start."
            )


def _refuse_contradictions(lines: pd.DataFrame, file: Path) -> None:
    """Refuses a recording of two subjects, and stretches of different splits that share time."""
    latest: dict[Path, tuple] = {}
    for line in lines.sort_values("start", kind="stable").itertuples():
        where, before = f"{file}, line {line.Index}", latest.get(line.path)
        if before is not None and before.subject != line.subject:
            raise InputError(
                f"{where}: {line.path} is of subject {line.subject!r}, but of {before.subject!r} on line "
                f"{before.Index}; a recording has one subject."
            )
        if before is not None and before.split != line.split and line.start < _end(before):
            raise InputError(
                f"{where}: the stretch overlaps the one on line {before.Index}, which is in another split; "
                "let them not overlap, or test data would be trained on."
            )
        if before is None or _end(line) >= _end(before):
            latest[line.path] = line


def _end(line: tuple) -> float:
    return math.inf if math.isnan(line.stop) else line.stop
