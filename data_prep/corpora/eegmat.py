"""EEGMAT: rest and mental arithmetic, 36 subjects, 19 electrodes, 500 Hz (PhysioNet, v1.0.0).

    labram-jax prepare eegmat EEGMAT_FOLDER OUT

Source: https://physionet.org/content/eegmat/1.0.0/ (DOI 10.13026/C2JQ1P), Open Data Commons Attribution License v1.0.
Cite Zyma et al., Electroencephalograms during Mental Arithmetic Task Performance, Data 2019;4(1):14, and Goldberger
et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 2000;101(23):e215-e220.

`SubjectNN_1.edf` is rest (class 0, about 182 s), `SubjectNN_2.edf` serial subtraction (class 1, about 62 s). The ear
lead A2-A1 and the ECG are left out. The protocol's windows are 4 s. By subject (the default) 0.6 of the subjects train,
0.2 validate, 0.2 test.

`--split-by time` takes the first 0.6 of each recording for training, the next 0.1 for validation and the last 0.3 for
testing; no window crosses a cut. It flatters: each recording is of one class, so whoever knows the recording again
knows the class. Of 12 subjects, in windows of 4 s, band powers reach an area under the curve of .85 by time and of .53
by subject.

`--split-by cbramod` is CBraMod's: subjects 00 to 27 train, 28 to 31 validate, 32 to 35 test, in windows of 5 s, none of
them judged by its quality. Its code does not filter (`--high-pass None --low-pass None --notch None`) and has a
twentieth channel, A2-A1, which is no electrode.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labram_jax.data.schema import FINITE_ONLY, QualityLimits
from labram_jax.data_prep.corpora import cbramod
from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.sources.files import existing_folder, find_files, recording_name
from labram_jax.data_prep.table import CorpusTable, Span, rows_of
from labram_jax.errors import InputError

SOURCE = "the folder of EEGMAT, which holds SubjectNN_1.edf and SubjectNN_2.edf"
CLASSES = ("rest", "arithmetic")
# fmt: off
ELECTRODES = (
    "FP1", "FP2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4",
    "T5", "T6", "P3", "P4", "O1", "O2", "FZ", "CZ", "PZ",
)
# fmt: on
WINDOW_SECONDS = 4
CBRAMOD_WINDOW_SECONDS = 5
TIME_FRACTIONS = (0.6, 0.1, 0.3)
SUBJECT_FRACTIONS = (0.6, 0.2, 0.2)

_NAME = re.compile(r"Subject(\d+)_([12])\.edf")


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """What may be asked for when preparing EEGMAT."""

    split_by: Literal["subject", "cbramod", "time", "none"] = "subject"
    """Whole subjects to one split (0.6, 0.2 and 0.2 of them, or those of CBraMod), time within each recording (0.6, 0.1
    and 0.3, which flatters: see above), or all to train."""

    def __post_init__(self):
        super().__post_init__()
        cbramod.check_fractions(self.split_by, self.fractions)


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of EEGMAT, or of those of its recordings that the folder holds.

    Raises:
      InputError: the folder is absent or holds no SubjectNN_1.edf or SubjectNN_2.edf, or the split does not know a
        subject.
    """
    root = existing_folder(source, "eegmat", SOURCE)
    paths, unusable = find_files(root, (".edf",))
    matches = [(path, match) for path in paths if (match := _NAME.fullmatch(path.name))]
    if not matches and not unusable:
        raise InputError(f"{root} holds no SubjectNN_1.edf or SubjectNN_2.edf; give the folder of EEGMAT.")
    published = options.split_by == "cbramod"
    fractions = TIME_FRACTIONS if options.split_by == "time" else SUBJECT_FRACTIONS
    return CorpusTable(
        "eegmat",
        rows_of(_span(path, root, match, published) for path, match in matches),
        options.split("subject" if published else options.split_by, fractions),
        options.recipe(electrodes=ELECTRODES, quality=FINITE_ONLY if published else QualityLimits()),
        CLASSES,
        CBRAMOD_WINDOW_SECONDS if published else WINDOW_SECONDS,
        tuple(unusable),
        "EEGMAT v1.0.0, PhysioNet (DOI 10.13026/C2JQ1P), ODC-By 1.0" + (", split as CBraMod's" if published else ""),
    )


def _span(path: Path, root: Path, match: re.Match, published: bool) -> Span:
    split = cbramod.split_of(int(match[1]), cbramod.EEGMAT) if published else None
    return Span(path, recording_name(path, root), f"Subject{match[1]}", split, int(match[2]) - 1)
