"""EEGMAT: rest and mental arithmetic, 36 subjects, 19 electrodes, 500 Hz (PhysioNet, v1.0.0).

    labram-jax prepare eegmat EEGMAT_FOLDER OUT
    labram-jax prepare eegmat EEGMAT_FOLDER OUT --split-by subject

Source: https://physionet.org/content/eegmat/1.0.0/ (DOI 10.13026/C2JQ1P), Open Data Commons Attribution License v1.0.
Cite Zyma et al., Electroencephalograms during Mental Arithmetic Task Performance, Data 2019;4(1):14, and Goldberger
et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation 2000;101(23):e215-e220.

`SubjectNN_1.edf` is rest (class 0, about 182 s), `SubjectNN_2.edf` serial subtraction (class 1, about 62 s). The ear
lead A2-A1 and the ECG are left out. Windows are 4 s unless asked otherwise. By time (the default) the first 0.6 of each
recording are for training, the next 0.1 for validation and the last 0.3 for testing, and no window crosses a cut;
`--fractions 0.7 0 0.3` gives the whole first part to training. By subject the shares are 0.6, 0.2 and 0.2.
"""

import re
from pathlib import Path

from data_prep.corpora.sources import corpus_plan, existing_folder, recording_name
from data_prep.corpora.splits import chosen_split, cut_in_time, split_subjects
from data_prep.options import PrepareOptions
from data_prep.plan import CorpusPlan, RecordingPlan, Span
from data_prep.recording import read, seconds
from labram_jax.errors import InputError

CLASSES = ("rest", "arithmetic")
# fmt: off
ELECTRODES = (
    "FP1", "FP2", "F3", "F4", "F7", "F8", "T3", "T4", "C3", "C4",
    "T5", "T6", "P3", "P4", "O1", "O2", "FZ", "CZ", "PZ",
)
# fmt: on
WINDOW_SECONDS = 4
TIME_FRACTIONS = (0.6, 0.1, 0.3)
SUBJECT_FRACTIONS = (0.6, 0.2, 0.2)

_NAME = re.compile(r"(Subject\d+)_([12])\.edf")


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans EEGMAT, or those of its recordings that the folder holds.

    Raises:
      InputError: the folder is absent or holds no SubjectNN_1.edf or SubjectNN_2.edf, or the split is impossible.
    """
    root = existing_folder(source, "eegmat")
    by = chosen_split(options, "eegmat", "time", ("time", "subject", "none"))
    files = {path: match for path in sorted(root.rglob("*.edf")) if (match := _NAME.fullmatch(path.name))}
    if not files:
        raise InputError(f"{root} holds no SubjectNN_1.edf or SubjectNN_2.edf; give the folder of EEGMAT.")
    if by == "subject":
        subjects = {match[1]: None for match in files.values()}
        splits = split_subjects(subjects, options.fractions or SUBJECT_FRACTIONS, options.seed)
    recordings, unusable = [], []
    for path, match in files.items():
        subject, label = match[1], int(match[2]) - 1
        spans = (Span(split=splits[subject] if by == "subject" else "train", label=label),)
        if by == "time":
            try:
                length = seconds(read(path))
            except InputError as error:
                unusable.append((str(path), str(error)))
                continue
            spans = cut_in_time(0.0, length, options.fractions or TIME_FRACTIONS, label)
        recordings.append(RecordingPlan(path, recording_name(path, root), subject, spans))
    return corpus_plan(
        "eegmat",
        recordings,
        options,
        classes=CLASSES,
        electrodes=ELECTRODES,
        window_seconds=WINDOW_SECONDS,
        unusable=tuple(unusable),
        provenance="EEGMAT v1.0.0, PhysioNet (DOI 10.13026/C2JQ1P), ODC-By 1.0",
    )
