"""EEGMMIDB: motor movement and imagery, 109 subjects, 64 electrodes, 160 Hz (PhysioNet, v1.0.0).

    labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT                   unlabelled, for pretraining
    labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task eyes
    labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task fists --subjects 1 2 3
    labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task imagery --split-by cbramod
    labram-jax prepare eegmmidb - OUT --task eyes                     fetched

With - in place of a folder the runs of the task are fetched through MNE into its data folder (3.4 GB for everything).

Source: https://physionet.org/content/eegmmidb/1.0.0/ (DOI 10.13026/C28G6P), Open Data Commons Attribution License
v1.0. Cite Schalk et al., BCI2000: A General-Purpose Brain-Computer Interface (BCI) System, IEEE TBME
2004;51(6):1034-1043, and Goldberger et al., PhysioBank, PhysioToolkit, and PhysioNet, Circulation
2000;101(23):e215-e220.

A file `SnnnRmm.edf` is run mm of subject nnn. Tasks:

    all              every run, without labels (the default)
    eyes             R01 open (0), R02 closed (1)
    fists            left (0) against right fist (1), moved: R03 R07 R11
    imagined-fists   the same, imagined: R04 R08 R12
    movement         left fist, right fist, both fists, both feet (0..3), moved: R03 R05 R07 R09 R11 R13
    imagery          the same, imagined: R04 R06 R08 R10 R12 R14

The last four label the trials that the annotations T1 and T2 mark (about 4.1 s each); their windows are 4 s. By time
(the default) the first 0.6 of each recording are for training, the next 0.1 for validation, the last 0.3 for testing
(0.9, 0.1 and 0 for `all`); a trial goes whole to where it begins. `--split-by subject` splits whole subjects in the
same shares; for `eyes`, where a recording is of one class, only that says what is known of new people. Published work
often leaves out subjects 88, 89, 92, 100, 104 and 106 (another rate, or trials marked wrongly): name the others with
`--subjects`.

`--split-by cbramod` is CBraMod's (PhysioNet-MI, with `--task imagery`): subjects 1 to 70 train, 71 to 89 validate, 90
to 109 test, all of them, and no window is judged by its quality. Its code passes 0.3 Hz and above and takes out 60 Hz
(`--high-pass 0.3 --low-pass None --notch 60`); it also subtracts the mean of all electrodes, which is not done here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import mne

from labram_jax.data.schema import FINITE_ONLY, QualityLimits
from labram_jax.data_prep.corpora import cbramod
from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.data_prep.sources.files import Unusable, existing_folder, find_files, recording_name
from labram_jax.data_prep.table import CorpusTable, Fractions, Span, rows_of
from labram_jax.errors import InputError
from labram_jax.progress import track

SOURCE = "the folder of EEGMMIDB, which holds SnnnRmm.edf; - fetches the runs of the task through MNE"
SUBJECTS = tuple(range(1, 110))


@dataclass(frozen=True)
class Task:
    """What the labels mean: `labels[run]` is the class of a whole run, or of each annotation (T1, T2) in it."""

    classes: tuple[str, ...] | None
    labels: Mapping[int, int | Mapping[str, int] | None]
    window_seconds: int | None = None
    fractions: Fractions = (0.6, 0.1, 0.3)


_TWO = ("left fist", "right fist")
_FOUR = (*_TWO, "both fists", "both feet")
_SIDES = {"T1": 0, "T2": 1}
_BOTH = {"T1": 2, "T2": 3}
TASKS = MappingProxyType(
    {
        "all": Task(None, dict.fromkeys(range(1, 15)), fractions=(0.9, 0.1, 0.0)),
        "eyes": Task(("open", "closed"), {1: 0, 2: 1}),
        "fists": Task(_TWO, dict.fromkeys((3, 7, 11), _SIDES), window_seconds=4),
        "imagined-fists": Task(_TWO, dict.fromkeys((4, 8, 12), _SIDES), window_seconds=4),
        "movement": Task(_FOUR, dict.fromkeys((3, 7, 11), _SIDES) | dict.fromkeys((5, 9, 13), _BOTH), window_seconds=4),
        "imagery": Task(_FOUR, dict.fromkeys((4, 8, 12), _SIDES) | dict.fromkeys((6, 10, 14), _BOTH), window_seconds=4),
    }
)
# A file may say more after its run, such as S001R01_first60s.edf.
_NAME = re.compile(r"S(\d{3})R(\d{2})(?:[_.-].*)?\.edf")


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """What may be asked for when preparing EEGMMIDB."""

    task: Literal[tuple(TASKS)] = "all"
    """What the labels mean; `all` has none."""
    subjects: tuple[int, ...] | None = None
    """Take (and fetch) these subjects, 1 to 109; by default all."""
    split_by: Literal["subject", "cbramod", "time", "none"] = "time"
    """Time within each recording, whole subjects to one split (by shares, or those of CBraMod), or all to train. By
    default 0.6, 0.1 and 0.3 go to train, validation and test (0.9, 0.1 and 0 for the task all)."""

    def __post_init__(self):
        super().__post_init__()
        cbramod.check_fractions(self.split_by, self.fractions)


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of one task over the recordings that the folder holds, or that MNE fetches without a folder.

    Raises:
      InputError: a folder without runs of the task, or no network.
    """
    task, published = TASKS[options.task], options.split_by == "cbramod"
    if source is None:
        runs, unusable = _fetch(options.subjects or SUBJECTS, sorted(task.labels)), []
    else:
        runs, unusable = _find(source, options.subjects)
    runs = {path: run for path, run in runs.items() if run[1] in task.labels}
    if not runs and not unusable:
        wanted = ", ".join(f"R{run:02d}" for run in sorted(task.labels))
        raise InputError(
            f"{source} holds no run of the task {options.task!r} (SnnnRmm.edf, mm of {wanted}); give its folder."
        )
    spans: list[Span] = []
    for path, (subject, run) in runs.items():
        name = recording_name(path, source or path.parents[1])
        try:
            split = cbramod.split_of(int(subject[1:]), cbramod.EEGMMIDB) if published else None
            whole = Span(path, name, subject, split)
            spans += _spans(whole, task.labels[run])
        except InputError as error:
            unusable.append((str(path), str(error)))
    return CorpusTable(
        "eegmmidb",
        rows_of(spans),
        options.split(
            "subject" if published else options.split_by, task.fractions, events=task.window_seconds is not None
        ),
        options.recipe(quality=FINITE_ONLY if published else QualityLimits()),
        task.classes,
        task.window_seconds,
        tuple(unusable),
        f"EEGMMIDB v1.0.0, PhysioNet (DOI 10.13026/C28G6P), ODC-By 1.0; task {options.task}"
        + (", split as CBraMod's" if published else ""),
    )


def _find(root: Path, subjects: Sequence[int] | None) -> tuple[dict[Path, tuple[str, int]], list[Unusable]]:
    """Returns the subject and run of every recording below a folder."""
    paths, unusable = find_files(existing_folder(root, "eegmmidb", SOURCE), (".edf",))
    matches = {path: _NAME.fullmatch(path.name) for path in paths}
    return {
        path: (f"S{match[1]}", int(match[2]))
        for path, match in matches.items()
        if match and (subjects is None or int(match[1]) in subjects)
    }, unusable


def _fetch(subjects: Sequence[int], runs: Sequence[int]) -> dict[Path, tuple[str, int]]:
    """Fetches the runs of the subjects into MNE's data folder, or finds them there."""
    found: dict[Path, tuple[str, int]] = {}
    for subject in track(subjects, "fetching eegmmidb"):
        try:
            paths = mne.datasets.eegbci.load_data(subject, runs, update_path=False, verbose="error")
        except (OSError, ValueError) as error:
            raise InputError(
                f"EEGMMIDB could not be fetched ({error}); give the folder that holds its recordings as SOURCE."
            ) from None
        found |= {Path(path): (f"S{subject:03d}", run) for path, run in zip(paths, runs, strict=True)}
    return found


def _spans(whole: Span, labels: int | Mapping[str, int] | None) -> list[Span]:
    """Returns the labelled stretches of a run: all of it, or its trials."""
    if not isinstance(labels, Mapping):
        return [whole._replace(label=labels)]
    header = open_recording(whole.path).header
    trials = [trial for trial in header.annotations if trial.text in labels and trial.start_seconds < header.seconds]
    if not trials:
        raise InputError(f"{whole.path} has no trial (annotations {', '.join(labels)}); it is left out.")
    return [
        whole._replace(
            label=labels[trial.text],
            start=trial.start_seconds,
            stop=min(trial.start_seconds + trial.duration_seconds, header.seconds),
        )
        for trial in trials
    ]
