"""What BIDS says of a recording beside its file: its subject, its channels, its events, its participants.

The names are read through mne-bids; a dataset needs no `dataset_description.json`, and a file without a BIDS name is
simply one of which nothing is said.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64
from mne_bids import get_entities_from_fname

from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.data_prep.readers.units import microvolts_per, spelling_of
from labram_jax.errors import InputError

_NOTHING = ("", "n/a")


class Event(NamedTuple):
    """A row of events.tsv: seconds from the recording's start, and the text of one column."""

    start_seconds: float
    duration_seconds: float
    text: str


def subject_of(path: Path) -> str | None:
    """Returns the subject (`sub-XX`) that a relative path names: its file, else the nearest folder so called."""
    if subject := _entities(path).get("subject"):
        return f"sub-{subject}"
    return next((part for part in reversed(path.parts[:-1]) if re.fullmatch(r"sub-[A-Za-z0-9]+", part)), None)


def find_sidecar(path: Path, suffix: str) -> Path | None:
    """Returns the `.tsv` of that suffix which applies to a recording, in its own folder or higher up, or None.

    Its entities (sub, task, run, ...) are all the recording's; the nearest such file counts, and of one folder that
    with most entities (BIDS' inheritance, from the dataset's root down).
    """
    own = _entities(path)
    for folder in _folders(path) if own else ():
        found = {file: _entities(file) for file in _sidecars(folder, suffix)}
        applying = [file for file, theirs in found.items() if theirs.items() <= own.items()]
        if applying:
            return max(applying, key=lambda file: len(found[file]))
    return None


def read_events(path: Path, column: str) -> list[Event]:
    """Returns the events of a recording that have a text in `column` of its events.tsv.

    Raises:
      InputError: there is no such file or column, or no event.
    """
    file = find_sidecar(path, "events")
    if file is None:
        raise InputError(f"{path} has no events.tsv beside it: give one, under a BIDS name.")
    table = _read(file, ("onset", "duration", column))
    numbers = table[["onset", "duration"]].apply(pd.to_numeric, errors="coerce").astype(np.float64)
    kept = ~table[column].isin(_NOTHING) & np.isfinite(numbers["onset"])
    if not kept.any():
        raise InputError(f"{file} lists no event with an onset and a {column}.")
    durations = numbers["duration"].fillna(0.0)
    return [Event(*row) for row in zip(numbers["onset"][kept], durations[kept], table[column][kept], strict=True)]


def participant_value(path: Path, column: str) -> str:
    """Returns what participants.tsv says in `column` of the subject of a recording.

    Raises:
      InputError: the recording has no BIDS name, or there is no such file, subject, column or value.
    """
    subject = subject_of(path)
    if subject is None:
        raise InputError(f"{path} has no BIDS name (sub-XX_..._eeg), which would say whose it is.")
    file = _participants_file(path)
    if file is None:
        raise InputError(f"{path} has no participants.tsv in its dataset.")
    table = _read(file, ("participant_id", column))
    values = table[column][table["participant_id"] == subject]
    if len(values) != 1 or values.iloc[0] in _NOTHING:
        raise InputError(f"{file} does not say the {column} of {subject} (once).")
    return values.iloc[0]


def open_bids(path: Path, part: str = "", unit: str | None = None) -> Reader:
    """Opens a recording with what its channels.tsv says: types, bad channels, and units where the file has none.

    A recording without one is opened as it is. Raises InputError where the recording or its channels.tsv cannot be
    read.
    """
    notes = _participant_notes(path)
    file = find_sidecar(path, "channels")
    if file is None:
        reader = open_recording(path, part, unit)
        return _Described(reader, replace(reader.header, notes=reader.header.notes + notes)) if notes else reader
    table = _read(file, ("name",))
    reader = open_recording(path, part, _units(table) if unit is None else unit)
    return _Described(reader, _described(reader.header, table, file.name, notes))


class _Described(Reader):
    """A recording whose header says what its sidecars add."""

    def __init__(self, reader: Reader, header: Header):
        self._reader = reader
        self.header = header

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        return self._reader.microvolts(channels, start, stop)


def _units(table: pd.DataFrame) -> dict[str, str]:
    """Returns the units of the channels that a channels.tsv tells, as `open_recording` spells them."""
    microvolts = {name: microvolts_per(unit) for name, unit in zip(table["name"], table.get("units", ()), strict=False)}
    return {name: spelling_of(value) for name, value in microvolts.items() if value is not None}


def _described(header: Header, table: pd.DataFrame, file: str, notes: tuple[str, ...]) -> Header:
    """Adds to a header what a channels.tsv says."""
    known = {*header.channels, *header.others}
    unknown = [name for name in table["name"] if name not in known]
    if unknown:
        listed = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        notes += (f"{file} names {len(unknown)} channel(s) that the recording has not ({listed}).",)
    others = {
        name: f"{name!r} is declared as {kind} by {file}, not EEG."
        for name, kind in zip(table["name"], table.get("type", ()), strict=False)
        if kind.upper() != "EEG" and kind not in _NOTHING and name in header.channels
    }
    bad = set(table["name"][table["status"].str.lower() == "bad"]) if "status" in table else set()
    channels = tuple(name for name in header.channels if name not in others)
    return replace(
        header,
        channels=channels,
        others={**header.others, **others},
        marked_bad=(header.marked_bad | bad) & set(channels),
        notes=header.notes + notes,
    )


def _participant_notes(path: Path) -> tuple[str, ...]:
    """Says so where participants.tsv does not know the subject of a recording."""
    subject, file = subject_of(path), _participants_file(path)
    if subject is None or file is None:
        return ()
    try:
        listed = set(_read(file, ("participant_id",))["participant_id"])
    except InputError as error:
        return (str(error),)
    return () if subject in listed else (f"{file.name} does not list {subject}.",)


def _participants_file(path: Path) -> Path | None:
    file = _folders(path)[-1] / "participants.tsv"
    return file if file.is_file() else None


def _folders(path: Path) -> list[Path]:
    """Returns the folders from a recording's own up to its dataset's root, which holds the folder of the subject."""
    subject, parents = subject_of(path), list(path.absolute().parents)
    root = next((place for place, folder in enumerate(parents, start=1) if folder.name == subject), 0)
    return parents[: root + 1]


def _entities(path: Path) -> dict[str, str]:
    """Returns the entities of a file's name, such as {"subject": "01", "task": "rest"}."""
    return {key: value for key, value in get_entities_from_fname(path.name, on_error="ignore").items() if value}


def _sidecars(folder: Path, suffix: str) -> list[Path]:
    """Returns the `.tsv` files of a folder that have a suffix, sorted; none where it may not be listed."""
    try:
        files = sorted(folder.iterdir())
    except OSError:
        return []
    return [file for file in files if re.fullmatch(rf"(?!\.)(.*_)?{suffix}\.tsv", file.name)]


def _read(file: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Reads a `.tsv` as texts without blanks around them; what is absent is empty."""
    try:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors, and so are those of decoding
        raise InputError(f"{file} cannot be read as a table ({' '.join(str(error).split())}).") from error
    table = table.rename(columns=str.strip).fillna("").apply(lambda cells: cells.str.strip())
    if missing := [column for column in columns if column not in table]:
        raise InputError(f"{file} has no column {missing[0]!r}: its columns are {', '.join(table)}.")
    return table
