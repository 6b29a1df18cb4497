"""Builds a corpus: surveys the recordings, prepares shards side by side, and puts the result in its place."""

import bisect
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import mne
import numpy as np
import pandas as pd
from jaxtyping import Float64

from labram_jax.data.schema import FORMAT, RATE_HZ, RECORD_SAMPLES, CorpusInfo
from labram_jax.data.tables import Tables
from labram_jax.data_prep.beam import beam_workers
from labram_jax.data_prep.finish import finish
from labram_jax.data_prep.partial import partial
from labram_jax.data_prep.report import BuildReport, count_windows
from labram_jax.data_prep.same_files import each_file_once
from labram_jax.data_prep.shard import (
    RecordingFile,
    RecordingReport,
    ShardJob,
    ShardReport,
    died,
    prepare_shard,
    printable,
)
from labram_jax.data_prep.survey import Survey, SurveyJob, montages, shards, survey
from labram_jax.data_prep.table import CorpusTable, split_table
from labram_jax.data_prep.workers import RunAll, processes
from labram_jax.errors import InputError
from labram_jax.progress import Progress

# Raised when the same table would give other shards than before, so that old ones are not mixed with new ones.
_RECIPE_VERSION = 3


def build(
    table: CorpusTable,
    out: Path,
    *,
    jobs: int = 1,
    beam: Sequence[str] | None = None,
    recordings_per_shard: int = 8,
    overwrite: bool = False,
) -> BuildReport:
    """Prepares the recordings of `table` as a corpus in the folder `out`, with `jobs` processes or on Apache Beam.

    `beam` holds Beam's pipeline options; None keeps the work on this machine. The bytes do not depend on who does it.
    A recording that cannot be used, whatever it raises, is listed with its reason and stops nothing. The work happens
    in `out.partial` (`labram_jax.data_prep.partial`) shard by shard: a build that was killed, wherever, goes on there
    if table and files are the same. `out` appears when all is whole; with `overwrite` it then takes the place of a
    corpus that is there.

    Raises:
      InputError: `out` is taken, the table cannot be split, or nothing at all is usable; then nothing is left behind.
      OSError: another process builds `out`, or the storage fails, of which no finished shard is lost.
    """
    table = each_file_once(table)
    files = _files(table.rows)
    if not files:
        raise _nothing_usable(table, _unusable(table))
    # Where lengths do not matter it is split before any file is opened: faults are told at once, and the outcome does
    # not depend on which files can be read.
    split = None if table.split.by == "time" else split_table(table.rows, table.split, {})
    out = Path(out)
    workers = processes(min(jobs, len(files))) if beam is None else beam_workers(beam, out, [f.path for f in files])
    with partial(out) as own:
        if not own.in_place:
            own.check_out(overwrite)
        with workers as run_all:
            surveys = _survey_all(table, files, run_all)
            if all(seen.reason is not None for seen in surveys):
                raise _nothing_usable(table, _reports(files, surveys, [], {}) + _unusable(table))
            spans = _usable_spans(table, split, files, surveys)
            usable = {place: seen for place, seen in enumerate(surveys) if seen.reason is None}
            found = montages(usable)
            fingerprint = _fingerprint(table, files, recordings_per_shard)
            shard_jobs = shards(found, files, usable, table.recipe, own.shards, recordings_per_shard, fingerprint)
            plan = _digest([fingerprint, *(job.name for job in shard_jobs)])
            if (reports := own.done(plan)) is not None:
                report = _read_report(out, own.corpus if own.corpus.exists() else out, reports)
                own.put_in_place()
                return report
            own.check_out(overwrite)
            own.start(plan, shard_jobs)
            results = _prepare_all(shard_jobs, run_all)
        seconds = {files[place].recording: seen.seconds for place, seen in usable.items()}
        reports = _reports(files, surveys, results, _notes(table.rows, seconds)) + _unusable(table)
        if all(report.reason is not None for report in reports):
            own.discard()
            raise _nothing_usable(table, reports)
        info, tables = finish(table, spans, found, results, own.corpus)
        report = BuildReport(out, info, tuple(reports), tables, count_windows(own.corpus, info, tables))
        report.write(own.corpus)
        own.finish(reports)
        own.put_in_place()
    return report


def _read_report(out: Path, folder: Path, reports: Sequence[RecordingReport]) -> BuildReport:
    """Returns the report of a whole corpus in `folder`, which is to be `out`."""
    info = CorpusInfo.read(folder)
    tables = Tables.read(folder, info)
    return BuildReport(out, info, tuple(reports), tables, count_windows(folder, info, tables))


def _files(rows: pd.DataFrame) -> list[RecordingFile]:
    """Returns the recordings of a table, in the order of their first rows; one without a subject is its own."""
    firsts = rows.drop_duplicates("recording")
    return [
        RecordingFile(Path(path), part or "", recording, recording if pd.isna(subject) else subject)
        for path, part, recording, subject in firsts[["path", "part", "recording", "subject"]].itertuples(index=False)
    ]


def _survey_all(table: CorpusTable, files: Sequence[RecordingFile], run_all: RunAll) -> list[Survey]:
    surveys: list[Survey] = [Survey()] * len(files)
    with Progress(f"{table.name}: headers", len(files)) as progress:
        for place, seen in run_all(survey, [SurveyJob(table.recipe, file) for file in files]):
            surveys[place] = Survey(reason=died(files[place])) if seen is None else seen
            progress.update()
    return surveys


def _usable_spans(
    table: CorpusTable, split: pd.DataFrame | None, files: Sequence[RecordingFile], surveys: list[Survey]
) -> pd.DataFrame:
    """Returns the rows of the recordings that can be used, split; those without any row get a reason in `surveys`."""
    seconds = {file.recording: seen.seconds for file, seen in zip(files, surveys, strict=True) if seen.reason is None}
    spans = split_table(table.rows, table.split, seconds) if split is None else split
    # A recording that cannot be used has no length, and nothing is less than that.
    spans = spans[spans["start"] < _lengths(spans, seconds)].reset_index(drop=True)
    placed = set(spans["recording"])
    for place, (file, seen) in enumerate(zip(files, surveys, strict=True)):
        if seen.reason is None and file.recording not in placed:
            reason = f"Its spans lie outside of it (the recording has {seen.seconds:.1f} s)."
            surveys[place] = Survey((), seen.seconds, reason, seen.notes)
    return spans


def _prepare_all(shard_jobs: Sequence[ShardJob], run_all: RunAll) -> list[tuple[ShardJob, ShardReport]]:
    """Makes the shards that are not there yet, and returns the reports of all of them, in order."""
    finished = sum(len(job.recordings) for job in shard_jobs if job.report_file.exists())
    total = sum(len(job.recordings) for job in shard_jobs)
    reports: dict[int, ShardReport] = {}
    with Progress("preparing recordings", total) as progress:
        if finished:
            progress.write(f"continuing an interrupted build: {finished} of {total} recordings are prepared already")
        seconds = 0.0
        for place, report in run_all(prepare_shard, shard_jobs):
            report = _without_deadly(shard_jobs[place], run_all) if report is None else report
            reports[place] = report
            seconds += sum(samples for entry in report.recordings for _, samples in entry.pieces) / RATE_HZ
            progress.update(len(shard_jobs[place].recordings), f"{seconds / 3600:.2f} h of signal")
    return [(job, reports[place]) for place, job in enumerate(shard_jobs)]


def _without_deadly(job: ShardJob, run_all: RunAll) -> ShardReport:
    """Makes a shard of which processes die without the recordings that are to blame."""
    files = job.recordings
    trials = [replace(job, name=f"{job.name}.trial-{place}", recordings=(file,)) for place, file in enumerate(files)]
    deadly = frozenset(files[place].recording for place, report in run_all(prepare_shard, trials) if report is None)
    _, report = next(iter(run_all(prepare_shard, [replace(job, deadly=deadly)])))
    if report is None:
        raise InputError(
            f"The process that prepares {files[0].path} and the recordings after it died, probably for want of memory: "
            "start the command again with fewer --jobs; finished shards are kept."
        )
    return report


def _notes(rows: pd.DataFrame, seconds: Mapping[str, float]) -> Mapping[str, Sequence[str]]:
    """Returns what the table lets to be said of the recordings that have a length in `seconds`, by their names."""
    notes: dict[str, list[str]] = defaultdict(list)
    for name in rows["recording"][rows["subject"].isna()].unique():
        notes[name].append("nobody says who was recorded: it counts as a subject of its own.")
    late = rows["recording"][rows["start"] >= _lengths(rows, seconds)]
    for name, count in Counter(late).items():
        notes[name].append(f"spans that begin behind its end were left out ({count}).")
    return notes


def _lengths(rows: pd.DataFrame, seconds: Mapping[str, float]) -> Float64[np.ndarray, "rows"]:
    """Returns the length of each row's recording, NaN where it is unknown; names need not be text that pandas sorts."""
    return np.array([seconds.get(name, np.nan) for name in rows["recording"]], dtype=np.float64)


def _reports(
    files: Sequence[RecordingFile],
    surveys: Sequence[Survey],
    results: Sequence[tuple[ShardJob, ShardReport]],
    notes: Mapping[str, Sequence[str]],
) -> list[RecordingReport]:
    """Returns one report for each recording, in the table's order; those that were used get further `notes`."""
    prepared = {report.recording: report for _, result in results for report in result.recordings}
    for name, report in prepared.items():
        report.notes += notes.get(name, ())
    return [
        prepared.get(file.recording)
        or RecordingReport(
            *map(printable, (str(file.path), file.recording, file.subject)),
            *(seen.reason, list(seen.notes)),
            seconds=seen.seconds,
        )
        for file, seen in zip(files, surveys, strict=True)
    ]


def _unusable(table: CorpusTable) -> list[RecordingReport]:
    """Returns reports of what was refused before it was opened."""
    return [RecordingReport(*map(printable, (path, path, "", reason))) for path, reason in table.unusable]


def _fingerprint(table: CorpusTable, files: Sequence[RecordingFile], recordings_per_shard: int) -> str:
    """Returns a text that changes whenever the shards would."""
    rows = table.rows.astype(object).where(table.rows.notna(), None).to_numpy().tolist()
    versions = (_RECIPE_VERSION, FORMAT, RECORD_SAMPLES, mne.__version__)
    content = [
        *(versions, table.name, list(table.rows.columns), rows, asdict(table.recipe), asdict(table.split)),
        *(table.classes, _states({file.path for file in files}), recordings_per_shard),
    ]
    return _digest(content)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=_name_of).encode()).hexdigest()


def _states(paths: Iterable[Path]) -> Mapping[str, tuple[int, int]]:
    """Returns size and time of change of each recording and of what belongs to it: files whose names begin alike."""
    states, listings = {}, {}
    for path in sorted(paths):
        if path.parent not in listings:
            listings[path.parent] = _names(path.parent)
        names, stem = listings[path.parent], path.stem.removesuffix("_eeg")
        for name in names[bisect.bisect_left(names, stem) :]:
            if not name.startswith(stem):
                break
            try:
                state = (path.parent / name).stat()
            except OSError:  # a link to nowhere
                continue
            states[str(path.parent / name)] = (state.st_size, state.st_mtime_ns)
    return states


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:  # it is not there or may not be listed, of which the survey tells
        return []


def _name_of(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else str(value)


def _nothing_usable(table: CorpusTable, reports: Sequence[RecordingReport]) -> InputError:
    if not reports:
        return InputError(f"The corpus {table.name} has no recordings: check the source folder.")
    first = "; ".join(report.why_unusable().rstrip(".") for report in reports[:3])
    more = f"; and {len(reports) - 3} more" if len(reports) > 3 else ""
    return InputError(f"None of the {len(reports)} recordings of {table.name} can be used ({first}{more}).")
