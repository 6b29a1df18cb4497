"""The unit of work: some recordings of one montage become one file of windows per split.

`prepare_shard` is a pure function of its job and the recordings' files: it may run in this process, in a pool, or on
another machine, and gives the same bytes everywhere.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from data_prep import recording, windows
from data_prep.clean import Signal, clean
from data_prep.plan import CorpusPlan, RecordingPlan, Span
from data_prep.quality import judge
from data_prep.writer import write_shard
from labram_jax.data.schema import NO_CLASS, RATE_HZ, SPLITS, record_features
from labram_jax.errors import InputError

_FLOAT16_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class ShardJob:
    """The recordings of one shard and everything that turns them into windows.

    The files are `folder/name-<split>.array_record` and, last of all, the report `folder/name.json`.
    """

    folder: Path
    name: str
    recipe: CorpusPlan
    recordings: tuple[RecordingPlan, ...]
    electrodes: tuple[str, ...]
    seconds: int
    dtype: str
    label: str | None
    outputs: int | None

    @property
    def report_file(self) -> Path:
        return self.folder / f"{self.name}.json"

    def shard_file(self, split: str) -> Path:
        return self.folder / f"{self.name}-{split}.array_record"


@dataclass
class RecordingReport:
    """What became of one recording; `reason` says why it gave no window at all.

    `windows` counts the kept ones by split, `classes` by split and class, `dropped` the others by reason;
    `bad_electrodes` counts, by kind, the electrodes that are bad in windows that were kept nevertheless.
    """

    path: str
    recording: str
    subject: str
    reason: str | None = None
    electrodes: int = 0
    seconds: float = 0.0
    windows: dict[str, int] = field(default_factory=dict)
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    bad_electrodes: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def why_unusable(self) -> str:
        """Returns the reason with the recording's path, which many reasons name already."""
        return self.reason if self.path in self.reason else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class ShardReport:
    """What one shard holds: its windows by split, and a report of each recording, in the job's order."""

    counts: dict[str, int]
    recordings: list[RecordingReport]


@dataclass(frozen=True)
class _Kept:
    """A window that passed: its place in a recording, and where it goes."""

    start: int
    span: Span


def prepare_shard(job: ShardJob) -> ShardReport:
    """Prepares the recordings of one shard and writes its files; a finished shard is read, not made again."""
    if job.report_file.exists():
        return _read_report(job.report_file)
    reports, prepared = [], []
    for planned in job.recordings:
        report = RecordingReport(str(planned.path), planned.recording, planned.subject)
        try:
            eeg, kept = _prepare(job, planned, report)
        except InputError as error:
            report.reason = str(error)
        else:
            prepared.append((planned, eeg, kept))
        reports.append(report)
    features = record_features(len(job.electrodes), job.seconds, job.dtype, job.label, job.outputs)
    counts = {}
    for split in SPLITS:
        counts[split] = write_shard(job.shard_file(split), _records(job, prepared, split), features)
    result = ShardReport(counts, reports)
    _write_report(job.report_file, result)
    return result


def _prepare(job: ShardJob, planned: RecordingPlan, report: RecordingReport) -> tuple[np.ndarray, list[_Kept]]:
    """Cleans one recording and judges its windows; returns it in the stored type, and the windows kept."""
    recipe = job.recipe
    raw = (recipe.reader or recording.read)(planned.path, planned.group)
    report.seconds = recording.seconds(raw)
    signal = clean(raw, job.electrodes, filters=recipe.filters, aliases=recipe.aliases, limits=recipe.quality)
    report.electrodes, report.notes = len(signal.electrodes), list(signal.notes)
    kept, dropped, bad = _judge_all(job, planned, signal)
    report.dropped, report.bad_electrodes = dict(sorted(dropped.items())), dict(sorted(bad.items()))
    for split in SPLITS:
        spans = [window.span for window in kept if window.span.split == split]
        if spans:
            report.windows[split] = len(spans)
        if spans and job.label == "class":
            names = Counter(_class_name(recipe, span.label) for span in spans)
            report.classes[split] = dict(sorted(names.items()))
    if not kept:
        causes = ", ".join(f"{count} {reason}" for reason, count in report.dropped.items())
        raise InputError(
            f"All its windows were dropped ({causes})."
            if causes
            else f"Its spans hold no whole window of {job.seconds} s (the recording has {report.seconds:.1f} s): "
            "ask for shorter windows."
        )
    # Values beyond the range belong to windows that were dropped.
    with np.errstate(over="ignore"):
        return signal.eeg.astype(job.dtype), kept


def _judge_all(job: ShardJob, planned: RecordingPlan, signal: Signal) -> tuple[list[_Kept], Counter[str], Counter[str]]:
    """Returns the windows kept, and the counts of dropped windows and of bad electrodes among the kept."""
    window = job.seconds * RATE_HZ
    kept, dropped, bad = [], Counter(), Counter()
    for span in planned.spans:
        for start in windows.starts(job.recipe, span, signal.eeg.shape[1], job.seconds).tolist():
            eeg = windows.cut(signal.eeg, start, window)
            verdict = judge(eeg, start / RATE_HZ, signal.damage, job.recipe.quality)
            reason = verdict.reason
            if reason is None and job.dtype == "float16" and np.abs(eeg).max() > _FLOAT16_LARGEST:
                reason = "too large for float16: ask for float32"
            if reason is None:
                kept.append(_Kept(start, span))
                bad += verdict.bad
            else:
                dropped[reason] += 1
    return kept, dropped, bad


def _records(
    job: ShardJob, prepared: list[tuple[RecordingPlan, np.ndarray, list[_Kept]]], split: str
) -> Iterator[dict[str, Any]]:
    for planned, eeg, kept in prepared:
        for window in kept:
            if window.span.split == split:
                record = {
                    "eeg": windows.cut(eeg, window.start, job.seconds * RATE_HZ),
                    "subject": planned.subject,
                    "recording": planned.recording,
                    "start_seconds": np.float32(window.start / RATE_HZ),
                }
                if job.label is not None:
                    record["label"] = _label(job, window.span)
                yield record


def _label(job: ShardJob, span: Span) -> np.int64 | np.ndarray:
    if job.label == "class":
        return np.int64(NO_CLASS if span.label is None else span.label)
    return np.asarray([np.nan] * job.outputs if span.label is None else span.label, dtype=np.float32)


def _class_name(recipe: CorpusPlan, label: int | None) -> str:
    return "no label" if label is None else recipe.classes[label]


def _write_report(path: Path, report: ShardReport) -> None:
    """The report comes last and under its name only when whole: where it is, the shard is finished."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    partial.write_text(json.dumps(asdict(report)), encoding="utf-8")
    partial.replace(path)


def _read_report(path: Path) -> ShardReport:
    content = json.loads(path.read_text(encoding="utf-8"))
    return ShardReport(content["counts"], [RecordingReport(**entry) for entry in content["recordings"]])
