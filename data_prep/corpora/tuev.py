"""TUEV, the TUH EEG Events Corpus: six kinds of events, each on one channel for one second.

    labram-jax prepare tuev TUEV_FOLDER OUT [--notch 60]

Source and citation: `data_prep/corpora/tuh.py`; also Harati A et al. Improved EEG Event Classification Using
Differential Energy. IEEE SPMB 2015. Licence: that of the registration.

Files lie in `edf/{train,eval}/SUBJECT/*.edf`, each beside a `.rec` file of the same name whose lines are channel,
start, stop (seconds), label (1..6, here 0..5). Protocol: 23 electrodes, 0.1-75 Hz, notch 50 Hz (the recordings are
American: 60 Hz is an option); for every line one window of 5 s, the event with 2 s on both sides, where the recording
continues from its other end beyond its ends; no window is judged by its quality. `eval` is the test set; of the
training subjects 0.8 train and 0.2 validate, whole subjects, seeded.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from labram_jax.data.schema import FINITE_ONLY, RATE_HZ
from labram_jax.data_prep.corpora import tuh
from labram_jax.data_prep.sources.files import recording_name
from labram_jax.data_prep.table import CorpusTable, Span, rows_of
from labram_jax.errors import InputError

SOURCE = "the folder of TUEV, which holds edf/train and edf/eval"
CLASSES = ("SPSW", "GPED", "PLED", "EYEM", "ARTF", "BCKG")
MARGIN_SECONDS = 2.0
EVENT_SECONDS = 1.0
WINDOW_SECONDS = 5


@dataclass(frozen=True)
class Options(tuh.TuhOptions):
    """What may be asked for when preparing TUEV."""


class Event(NamedTuple):
    """An event with its margins, in seconds from the recording's start (also below 0), and its class."""

    start: float
    stop: float
    label: int


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of TUEV, or of those of its recordings that the folder holds.

    Raises:
      InputError: the folder is not laid out as TUEV, or holds no recording.
    """
    root = tuh.edf_folder(source, "tuev", SOURCE)
    spans, unusable = [], []
    for part in ("train", "eval"):
        for path in tuh.find_edf(root / part, unusable):
            try:
                events = read_events(path.with_suffix(".rec"))
            except InputError as error:
                unusable.append((str(path), str(error)))
                continue
            name, split = recording_name(path, root), "test" if part == "eval" else None
            spans += [
                Span(path, name, path.parent.name, split, event.label, event.start, event.stop) for event in events
            ]
    if not spans and not unusable:
        raise InputError(f"{root} holds no {{train,eval}}/SUBJECT/*.edf; give the folder of TUEV.")
    margins = (MARGIN_SECONDS, WINDOW_SECONDS - MARGIN_SECONDS)
    return CorpusTable(
        "tuev",
        rows_of(spans),
        # Published scores rest on subjects drawn whatever their events are.
        options.split("subject", options.fractions, balanced=False),
        options.recipe(
            electrodes=tuh.ELECTRODES, quality=FINITE_ONLY, open=tuh.open_referential, margins_seconds=margins
        ),
        CLASSES,
        WINDOW_SECONDS,
        tuple(unusable),
        "TUH EEG Events Corpus (TUEV)",
    )


def read_events(file: Path) -> list[Event]:
    """Returns the events of a `.rec` file with their margins, one a line, on the grid of 200 Hz samples.

    Raises:
      InputError: the file is absent or empty, or a line is no event of the protocol.
    """
    try:
        with file.open(newline="") as stream:
            rows = [(number, row) for number, row in enumerate(csv.reader(stream), start=1) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"The events {file} cannot be read ({error}); put the .rec file beside the .edf.") from error
    if not rows:
        raise InputError(f"{file} lists no event.")
    return [_event(row, f"{file}, line {number}") for number, row in rows]


def _event(row: list[str], where: str) -> Event:
    try:
        _, start, stop, label = (float(cell) for cell in row)
    except ValueError as error:
        raise InputError(f"{where}: {','.join(row)!r} is not channel, start, stop, label.") from error
    if label not in range(1, len(CLASSES) + 1):
        raise InputError(f"{where}: the label {label:g} is none of 1 to {len(CLASSES)}.")
    if not 0 <= start < math.inf or abs(stop - start - EVENT_SECONDS) > 1 / RATE_HZ:
        raise InputError(f"{where}: the event from {start:g} to {stop:g} s does not last {EVENT_SECONDS:g} s.")
    # The first sample of the event is the first at or after its start, as in the official script.
    begin = math.ceil(start * RATE_HZ - 1e-6) / RATE_HZ - MARGIN_SECONDS
    return Event(begin, begin + WINDOW_SECONDS, int(label) - 1)
