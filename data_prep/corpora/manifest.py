"""The manifest of a folder: a CSV file that says which stretch of which recording has which label and split.

One line is one stretch; several lines of one path are several stretches of one recording. Columns, of which only
`path` is required:

    path          relative to the folder of the recordings, or absolute
    subject       who was recorded; the same on all lines of a path
    split         train, validation or test; on every line or on none
    start, stop   seconds from the recording's start; empty is its start and its end
    label         names or whole numbers: classes, sorted (numbers by value); numbers of which one is written
                  with a dot or an exponent (0.5, 1.0, 2e3): a quantity to be regressed
    label_0, ...  instead of `label`: a vector of quantities to be regressed

A label stands on every line or on none.
"""

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_prep.plan import SPLITS
from labram_jax.errors import InputError

COLUMNS = ("path", "subject", "split", "label", "start", "stop")

Label = int | tuple[float, ...] | None


@dataclass(frozen=True)
class Line:
    """One line of a manifest; `subject` and `split` are None where the manifest leaves them open."""

    number: int
    path: Path
    subject: str | None
    split: str | None
    label: Label
    start_seconds: float
    stop_seconds: float | None

    @property
    def stop_or_infinity(self) -> float:
        return math.inf if self.stop_seconds is None else self.stop_seconds


@dataclass(frozen=True)
class Manifest:
    """The lines of a manifest and the names of its classes, None when labels are quantities or absent."""

    lines: tuple[Line, ...]
    classes: tuple[str, ...] | None


def read_manifest(file: Path, root: Path) -> Manifest:
    """Reads a manifest whose relative paths start at `root`.

    Raises:
      InputError: the file is absent or no such table, or a line of it cannot be used; the line's number is said.
    """
    rows = _rows(file)
    labels, classes = _labels(rows, file)
    lines = [_line(number, row, file, root) for number, row in rows]
    lines = [replace(line, label=label) for line, label in zip(lines, labels, strict=True)]
    _all_or_none([line.split is not None for line in lines], rows, "split", file)
    _refuse_contradictions(lines, file)
    return Manifest(tuple(lines), classes)


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Returns (line number, stripped cells by column) of a CSV file whose header is a manifest's."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = [(column or "").strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise InputError(f"There is no manifest {file}; give the CSV file that lists the recordings.") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as a CSV file: {error}.") from None
    if "path" not in columns:
        raise InputError(f"{file} has no column 'path'; its first line must name the columns, of {_known()}.")
    for column in columns:
        if column not in COLUMNS and not re.fullmatch(r"label_\d+", column):
            raise InputError(f"{file} has a column {column!r}, which is unknown; rename or remove it ({_known()}).")
        if columns.count(column) > 1:
            raise InputError(f"{file} has the column {column!r} twice; remove one.")
    for number, row in rows:
        if None in row or None in row.values():
            raise InputError(f"{file}, line {number}: it has not as many cells as the header; mend the line.")
    if not rows:
        raise InputError(f"{file} lists no recording; add a line for each.")
    return [(number, {column: cell.strip() for column, cell in row.items()}) for number, row in rows]


def _known() -> str:
    return ", ".join((*COLUMNS, "label_0, label_1, ..."))


def _line(number: int, row: dict[str, str], file: Path, root: Path) -> Line:
    where = f"{file}, line {number}"
    path = root / row["path"]
    if not row["path"] or not path.exists():
        raise InputError(f"{where}: there is no file {path}; correct the path or remove the line.")
    split = row.get("split") or None
    if split is not None and split not in SPLITS:
        raise InputError(f"{where}: {split!r} is not a split; write one of {', '.join(SPLITS)}.")
    start = _number(row["start"], where) if row.get("start") else 0.0
    stop = _number(row["stop"], where) if row.get("stop") else None
    if start < 0:
        raise InputError(f"{where}: a stretch starts at 0 s or later, not at {start:g} s.")
    if stop is not None and stop <= start:
        raise InputError(f"{where}: the stretch from {start:g} s to {stop:g} s is empty; let it stop after its start.")
    return Line(number, path, row.get("subject") or None, split, None, start, stop)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {text!r} is not a number; write one such as 12 or 0.5.")
    return value


def _labels(rows: Sequence[tuple[int, dict[str, str]]], file: Path) -> tuple[list[Label], tuple[str, ...] | None]:
    """Returns a label a line, and the classes if the labels are classes."""
    parts = sorted((column for column in rows[0][1] if column.startswith("label_")), key=lambda c: int(c[6:]))
    if parts and "label" in rows[0][1]:
        raise InputError(f"{file} has both 'label' and 'label_0'; keep the one that you mean.")
    if parts:
        if parts != [f"label_{index}" for index in range(len(parts))]:
            raise InputError(f"{file} has the columns {', '.join(parts)}; number them label_0, label_1, ... in turn.")
        return [tuple(_number(row[part], f"{file}, line {n}") for part in parts) for n, row in rows], None
    texts = [row.get("label", "") for _, row in rows]
    _all_or_none([bool(text) for text in texts], rows, "label", file)
    if not any(texts):
        return [None] * len(texts), None
    if all(re.fullmatch(r"[+-]?\d+", text) for text in texts):
        classes = tuple(str(value) for value in sorted({int(text) for text in texts}))
        return [classes.index(str(int(text))) for text in texts], classes
    if all(_is_number(text) for text in texts):
        return [(float(text),) for text in texts], None
    classes = tuple(sorted(set(texts)))
    return [classes.index(text) for text in texts], classes


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _all_or_none(present: Sequence[bool], rows: Sequence[tuple[int, dict]], column: str, file: Path) -> None:
    if any(present) and not all(present):
        number = rows[list(present).index(False)][0]
        raise InputError(f"{file}, line {number}: it has no {column}, but other lines do; fill in all or none.")


def _refuse_contradictions(lines: Sequence[Line], file: Path) -> None:
    """Refuses a recording of two subjects, and stretches of different splits that share time."""
    latest: dict[Path, Line] = {}
    for line in sorted(lines, key=lambda line: (line.path, line.start_seconds)):
        where = f"{file}, line {line.number}"
        before = latest.get(line.path)
        if before is not None and before.subject != line.subject:
            raise InputError(
                f"{where}: {line.path} is of subject {line.subject!r}, but of {before.subject!r} on line "
                f"{before.number}; a recording has one subject."
            )
        if before is not None and before.split != line.split and line.start_seconds < before.stop_or_infinity:
            raise InputError(
                f"{where}: the stretch overlaps the one on line {before.number}, which is in another split; "
                "let them not overlap, or test data would be trained on."
            )
        if before is None or line.stop_or_infinity >= before.stop_or_infinity:
            latest[line.path] = line
