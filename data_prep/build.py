"""Builds a corpus: surveys the recordings, prepares shards side by side, and puts the result in its place."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mne

from data_prep.beam import beam_workers
from data_prep.plan import CorpusPlan
from data_prep.report import BuildReport
from data_prep.shard import RecordingReport, ShardJob, ShardReport, prepare_shard
from data_prep.survey import Configuration, Survey, SurveyJob, configurations, shards, survey
from data_prep.workers import RunAll, processes
from data_prep.writer import finish_configuration
from labram_jax.data.schema import CORPUS_FILE, SPLITS, ConfigurationInfo, CorpusInfo, record_features
from labram_jax.errors import InputError
from labram_jax.progress import Progress

# Raised when the same plan would give other windows than before, so that old shards are not mixed with new ones.
_RECIPE_VERSION = 1
_FINGERPRINT_FILE = "fingerprint.json"
_SHARDS_FOLDER = "shards"


def build(
    plan: CorpusPlan,
    out: Path,
    *,
    jobs: int = 1,
    beam: Sequence[str] | None = None,
    dtype: str = "float16",
    recordings_per_shard: int = 8,
    overwrite: bool = False,
) -> BuildReport:
    """Prepares the recordings of `plan` as a corpus in the folder `out`, with `jobs` processes or on Apache Beam.

    `beam` holds Beam's pipeline options; None keeps the work on this machine. The bytes do not depend on who does it.
    A recording that cannot be used is listed with its reason and stops nothing. The work happens in `out.partial`
    shard by shard: a build that was killed continues there if plan and files are the same. `out` appears when all
    is whole; with `overwrite` it then takes the place of a corpus that is there.
    Raises InputError where `out` is taken or nothing at all is usable; then nothing is left behind.
    """
    out = Path(out)
    _check_out(out, overwrite)
    if not plan.recordings:
        raise _nothing_usable(plan, [RecordingReport(path, path, "", reason) for path, reason in plan.unusable])
    if beam is None:
        workers = processes(min(jobs, len(plan.recordings)))
    else:
        workers = beam_workers(beam, out, [planned.path for planned in plan.recordings])
    with workers as run_all:
        surveys = _survey_all(plan, run_all)
        found = configurations(plan, surveys)
        if not found:
            raise _nothing_usable(plan, _reports(plan, surveys, []))
        partial = out.with_name(f"{out.name}.partial")
        _start_or_continue(partial, _fingerprint(plan, dtype, recordings_per_shard))
        shard_jobs = shards(plan, found, surveys, partial / _SHARDS_FOLDER, dtype, recordings_per_shard)
        results = _prepare_all(shard_jobs, run_all)
    reports = _reports(plan, surveys, results)
    if all(report.reason is not None for report in reports):
        shutil.rmtree(partial)
        raise _nothing_usable(plan, reports)
    filled = [_finish(plan, found_here, partial, shard_jobs, results, dtype) for found_here in found]
    info = CorpusInfo(
        name=plan.name,
        configurations=tuple(entry for entry in filled if entry.splits),
        classes=plan.classes,
        label=plan.label,
        outputs=plan.outputs,
        filters=None if plan.filters is None else asdict(plan.filters),
        provenance=plan.provenance,
    )
    report = BuildReport(out, info, tuple(reports), plan.quality)
    report.write(partial)
    _put_in_place(partial, out)
    return report


def _check_out(out: Path, overwrite: bool) -> None:
    """An existing folder is touched only on request, and only when it is a corpus."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not overwrite:
        raise InputError(f"{out} exists already: choose another folder, or ask to overwrite it.")
    if not (out / CORPUS_FILE).is_file():
        raise InputError(f"{out} exists and is not a corpus: it will not be overwritten; choose another folder.")


def _survey_all(plan: CorpusPlan, run_all: RunAll) -> list[Survey]:
    recipe = plan.recipe()
    surveys: list[Survey] = [Survey()] * len(plan.recordings)
    with Progress(f"{plan.name}: headers", len(plan.recordings)) as progress:
        for place, seen in run_all(survey, [SurveyJob(recipe, planned) for planned in plan.recordings]):
            surveys[place] = seen
            progress.update()
    return surveys


def _prepare_all(shard_jobs: Sequence[ShardJob], run_all: RunAll) -> list[tuple[ShardJob, ShardReport]]:
    """Makes the shards that are not there yet, and returns the reports of all of them, in order."""
    finished = sum(len(job.recordings) for job in shard_jobs if job.report_file.exists())
    total = sum(len(job.recordings) for job in shard_jobs)
    reports: dict[int, ShardReport] = {}
    with Progress("preparing recordings", total) as progress:
        if finished:
            progress.write(f"continuing an interrupted build: {finished} of {total} recordings are prepared already")
        for place, report in run_all(prepare_shard, shard_jobs):
            reports[place] = report
            kept = sum(sum(done.counts.values()) for done in reports.values())
            progress.update(len(shard_jobs[place].recordings), f"{kept} windows")
    return [(job, reports[place]) for place, job in enumerate(shard_jobs)]


def _reports(
    plan: CorpusPlan, surveys: Sequence[Survey], results: Sequence[tuple[ShardJob, ShardReport]]
) -> list[RecordingReport]:
    """Returns one report for each recording in the plan's order, then those refused while planning."""
    prepared = {report.recording: report for _, result in results for report in result.recordings}
    reports = []
    for planned, seen in zip(plan.recordings, surveys, strict=True):
        refused = RecordingReport(str(planned.path), planned.recording, planned.subject, seen.reason)
        reports.append(prepared.get(planned.recording, refused))
    return reports + [RecordingReport(path, path, "", reason) for path, reason in plan.unusable]


def _finish(
    plan: CorpusPlan,
    configuration: Configuration,
    partial: Path,
    shard_jobs: Sequence[ShardJob],
    results: Sequence[tuple[ShardJob, ShardReport]],
    dtype: str,
) -> ConfigurationInfo:
    """Moves the shards of one configuration together as a TFDS directory; one without windows gets none."""
    mine = [(job, report) for job, report in results if job.folder.name == configuration.name]
    split_shards = {split: [(job.shard_file(split), report.counts[split]) for job, report in mine] for split in SPLITS}
    counts: dict[str, int] = {}
    if any(count for shard in split_shards.values() for _, count in shard):
        features = record_features(
            len(configuration.electrodes), configuration.seconds, dtype, plan.label, plan.outputs
        )
        metadata = {"electrodes": list(configuration.electrodes), "corpus": plan.name}
        counts = finish_configuration(partial / configuration.name, features, split_shards, metadata)
    return ConfigurationInfo(configuration.name, configuration.electrodes, configuration.seconds, counts)


def _fingerprint(plan: CorpusPlan, dtype: str, recordings_per_shard: int) -> str:
    """Returns a text that changes whenever the shards would."""
    files = {}
    for planned in plan.recordings:
        if planned.path.exists():
            state = planned.path.stat()
            files[str(planned.path)] = (state.st_size, state.st_mtime_ns)
    content = [_RECIPE_VERSION, mne.__version__, asdict(plan), files, dtype, recordings_per_shard]
    return hashlib.sha256(json.dumps(content, default=_name_of).encode()).hexdigest()


def _name_of(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else str(value)


def _start_or_continue(partial: Path, fingerprint: str) -> None:
    """Keeps the shards of an interrupted build of the same plan; removes those of another."""
    file = partial / _FINGERPRINT_FILE
    if partial.exists():
        if not file.is_file():
            raise InputError(f"{partial} is in the way and no interrupted build: move it away.")
        if file.read_text(encoding="utf-8") == fingerprint:
            return
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    file.write_text(fingerprint, encoding="utf-8")


def _put_in_place(partial: Path, out: Path) -> None:
    shutil.rmtree(partial / _SHARDS_FOLDER)
    (partial / _FINGERPRINT_FILE).unlink()
    replaced = out.with_name(f"{out.name}.replaced")
    if out.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        out.rename(replaced)
    partial.rename(out)
    shutil.rmtree(replaced, ignore_errors=True)


def _nothing_usable(plan: CorpusPlan, reports: Sequence[RecordingReport]) -> InputError:
    if not reports:
        return InputError(f"The corpus {plan.name} has no recordings: check the source folder.")
    first = "; ".join(report.why_unusable().rstrip(".") for report in reports[:3])
    more = f"; and {len(reports) - 3} more" if len(reports) > 3 else ""
    return InputError(f"None of the {len(reports)} recordings of {plan.name} can be used ({first}{more}).")
