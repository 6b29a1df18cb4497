"""SEED-V: five emotions while watching films, 16 subjects, 62 electrodes, 1000 Hz (SJTU).

    labram-jax prepare seedv SEED_V_FOLDER OUT
    labram-jax prepare seedv SEED_V_FOLDER OUT --split-by subject

Had from https://bcmi.sjtu.edu.cn/home/seed/seed-v.html on application, under its licence. Cite Liu W, Qiu J-L, Zheng
W-L, Lu B-L. Comparing Recognition Performance and Robustness of Multimodal Deep Learning Models for Multimodal Emotion
Recognition. IEEE TCDS 2022;14(2):715-729.

`SUBJECT_SESSION_DATE.cnt` (Neuroscan, 32 bit) is one of three sessions; its number is that of the films that were
shown, 15 trials each. When each trial began and ended stands in `trial_start_end_timestamp.txt`, which comes with the
recordings. M1, M2, VEO and HEO are left out. The emotions of the trials are those that CBraMod and TorchEEG take from
the corpus' table of stimuli (`emotion_label_and_stimuli_order.xlsx`, which is not read).

LaBraM's protocol (appendix F of its paper; CBraMod's splits alike): windows of 1 s; of the trials of each session 1 to
5 train, 6 to 10 validate and 11 to 15 test, which is the default here (`--split-by time`). Every subject is in every
split, so scores are within subjects. The paper speaks of 20 subjects and 148,080 windows; the 16 that are given out
have 117,744. Whole subjects are split by `--split-by subject`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import mne

from labram_jax.data.schema import FINITE_ONLY, SPLITS
from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.readers.mne_reader import collected_warnings, reader_of
from labram_jax.data_prep.readers.reader import Reader
from labram_jax.data_prep.readers.recording import sentences
from labram_jax.data_prep.sources.files import existing_folder, find_files, recording_name
from labram_jax.data_prep.table import CorpusTable, Fractions, Span, rows_of
from labram_jax.errors import InputError

SOURCE = "the folder of SEED-V, which holds EEG_raw and trial_start_end_timestamp.txt"
TIMES_FILE = "trial_start_end_timestamp.txt"
CLASSES = ("disgust", "fear", "sad", "neutral", "happy")
# fmt: off
ELECTRODES = (
    "FP1", "FPZ", "FP2", "AF3", "AF4", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8",
    "FT7", "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8",
    "TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8", "P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8",
    "PO7", "PO5", "PO3", "POZ", "PO4", "PO6", "PO8", "CB1", "O1", "OZ", "O2", "CB2",
)
# fmt: on
# The class of each trial, by session: the last two showed different films of the same emotions.
_LATER = (2, 1, 3, 0, 4, 4, 0, 3, 2, 1, 3, 4, 1, 2, 0)
EMOTIONS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {1: (4, 1, 3, 2, 0, 4, 1, 3, 2, 0, 4, 1, 3, 2, 0), 2: _LATER, 3: _LATER}
)
TRIALS = 15
WINDOW_SECONDS = 1
TRIAL_FRACTIONS = (1 / 3, 1 / 3, 1 / 3)
SUBJECT_FRACTIONS = (0.6, 0.2, 0.2)

_NAME = re.compile(r"(\d+)_([123])_\d+\.cnt", re.IGNORECASE)
_SECONDS = r"\[([^\]]*)\]"
_SESSION = re.compile(
    rf"session\s*(\d+)\s*:?\s*start_seconds?\s*[:=]\s*{_SECONDS}[\s,;]*end_seconds?\s*[:=]\s*{_SECONDS}", re.IGNORECASE
)

Trials = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """What may be asked for when preparing SEED-V."""

    split_by: Literal["time", "subject", "none"] = "time"
    """The trials of each session in their order (a third each, as published: within subjects), whole subjects to one
    split (0.6, 0.2 and 0.2 of them), or all to train."""


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of SEED-V, or of those of its recordings that the folder holds.

    Raises:
      InputError: the folder is absent, holds no recording of SEED-V, or lacks the times of its trials.
    """
    root = existing_folder(source, "seedv", SOURCE)
    paths, unusable = find_files(root, (".cnt",))
    matches = [(path, match) for path in paths if (match := _NAME.fullmatch(path.name))]
    if not matches and not unusable:
        raise InputError(f"{root} holds no SUBJECT_SESSION_DATE.cnt; give {SOURCE}.")
    times = read_times(root / TIMES_FILE)
    by_time = options.split_by == "time"
    splits = _trial_splits(options.fractions or TRIAL_FRACTIONS) if by_time else (None,) * TRIALS
    spans = [
        Span(path, recording_name(path, root), match[1], split, label, *seconds)
        for path, match in matches
        for split, label, seconds in zip(splits, EMOTIONS[int(match[2])], times[int(match[2])], strict=True)
    ]
    return CorpusTable(
        "seedv",
        rows_of(spans),
        options.split(options.split_by, SUBJECT_FRACTIONS),
        options.recipe(electrodes=ELECTRODES, quality=FINITE_ONLY, open=open_cnt),
        CLASSES,
        WINDOW_SECONDS,
        tuple(unusable),
        "SEED-V, BCMI laboratory, SJTU" + (", trials of each session split in their order" if by_time else ""),
    )


def open_cnt(path: Path, part: str = "", unit: str | None = None) -> Reader:
    """Opens a recording; some of SEED-V have headers of which MNE cannot tell that their samples are of 32 bit.

    Raises:
      InputError: the file cannot be read.
    """
    with sentences(path), collected_warnings() as notes:
        raw = mne.io.read_raw_cnt(path, data_format="int32", preload=False, verbose="ERROR")
    with sentences(path):
        return reader_of(raw, path, notes, unit)


def read_times(file: Path) -> dict[int, Trials]:
    """Returns when the trials of each session begin and end, in seconds from the recording's start.

    The file has for each session `Session N:`, `start_second: [...]` and `end_second: [...]`, 15 numbers each.

    Raises:
      InputError: the file is absent, or lacks a session, or its trials are not 15 that follow each other.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The times of the trials cannot be read ({error}): put {TIMES_FILE}, which comes with SEED-V, into the "
            "folder that is prepared."
        ) from error
    times = {int(match[1]): _trials(match, file) for match in _SESSION.finditer(text)}
    if missing := [session for session in EMOTIONS if session not in times]:
        raise InputError(
            f"{file} says nothing of session {missing[0]} (Session {missing[0]}:, start_second: [...], end_second: "
            "[...]): obtain it again."
        )
    return times


def _trials(match: re.Match, file: Path) -> Trials:
    where = f"{file}, session {match[1]},"
    try:
        starts, ends = ([float(cell) for cell in match[group].split(",") if cell.strip()] for group in (2, 3))
    except ValueError as error:
        raise InputError(f"{where} holds what is no number of seconds ({error}): obtain it again.") from error
    if not len(starts) == len(ends) == TRIALS:
        raise InputError(f"{where} has {len(starts)} starts and {len(ends)} ends of trials, not {TRIALS} of each.")
    edges = [second for trial in zip(starts, ends, strict=True) for second in trial]
    if edges[0] < 0 or any(not earlier < later for earlier, later in pairwise(edges)):
        raise InputError(f"{where} has trials that do not follow each other in time: obtain it again.")
    return tuple(zip(starts, ends, strict=True))


def _trial_splits(fractions: Fractions) -> tuple[str, ...]:
    """Returns the split of each trial of a session, in order; its middle decides."""
    edges = [sum(fractions[: place + 1]) * TRIALS for place in range(len(SPLITS))]
    edges[-1] = TRIALS
    return tuple(
        next(split for split, edge in zip(SPLITS, edges, strict=True) if trial + 0.5 < edge) for trial in range(TRIALS)
    )
