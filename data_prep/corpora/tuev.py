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
from pathlib import Path

from data_prep.corpora import tuh
from data_prep.corpora.sources import corpus_plan, recording_name
from data_prep.corpora.splits import chosen_split, split_subjects
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY, CorpusPlan, RecordingPlan, Span
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError

CLASSES = ("SPSW", "GPED", "PLED", "EYEM", "ARTF", "BCKG")
MARGIN_SECONDS = 2.0
EVENT_SECONDS = 1.0
WINDOW_SECONDS = 5


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans TUEV, or those of its recordings that the folder holds.

    Raises:
      InputError: the folder is not laid out as TUEV, holds no recording, another window is asked for, or there are too
        few subjects to split.
    """
    root = tuh.edf_folder(source, "tuev")
    if options.window_seconds not in (None, WINDOW_SECONDS) or options.stride_seconds is not None:
        raise InputError(f"tuev has one window of {WINDOW_SECONDS} s an event; leave window and stride out.")
    chosen_split(options, "tuev", "subject", ("subject", "official"))
    files = {path: part for part in ("train", "eval") for path in sorted((root / part).rglob("*.edf"))}
    if not files:
        raise InputError(f"{root} holds no {{train,eval}}/SUBJECT/*.edf; give the folder of TUEV.")
    shares = tuh.fractions(options, "tuev")
    training = {path.parent.name: None for path, part in files.items() if part == "train"}
    splits = split_subjects(training, shares, options.seed) if training else {}
    recordings, unusable = [], []
    for path, part in files.items():
        subject = path.parent.name
        try:
            spans = read_events(path.with_suffix(".rec"), "test" if part == "eval" else splits[subject])
        except InputError as error:
            unusable.append((str(path), str(error)))
            continue
        name = recording_name(path, root)
        recordings.append(RecordingPlan(path, name, subject, spans))
    return corpus_plan(
        "tuev",
        recordings,
        options,
        classes=CLASSES,
        electrodes=tuh.ELECTRODES,
        window_seconds=WINDOW_SECONDS,
        quality=FINITE_ONLY,
        unusable=tuple(unusable),
        wrap=True,
        reader=tuh.read_referential,
        provenance="TUH EEG Events Corpus (TUEV)",
    )


def read_events(file: Path, split: str) -> tuple[Span, ...]:
    """Returns the spans of a `.rec` file, one a line: the event with its margins, on the grid of 200 Hz samples.

    Raises:
      InputError: the file is absent or empty, or a line is no event of the protocol.
    """
    try:
        with file.open(newline="") as stream:
            rows = [(number, row) for number, row in enumerate(csv.reader(stream), start=1) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The events {file} cannot be read ({error}); put the .rec file beside the .edf.") from error
    if not rows:
        raise InputError(f"{file} lists no event.")
    return tuple(_span(row, f"{file}, line {number}", split) for number, row in rows)


def _span(row: list[str], where: str, split: str) -> Span:
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
    return Span(begin, begin + WINDOW_SECONDS, split, int(label) - 1)
