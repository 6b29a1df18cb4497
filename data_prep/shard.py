"""The unit of work: some recordings of one montage become one file of records and one of quality.

`prepare_shard` is a pure function of its job and the recordings' files: it may run in this process, in a pool, or on
another machine, and gives the same bytes everywhere. It holds one recording at a time.
"""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from jaxtyping import UInt8

from labram_jax.data.schema import QUALITY, RECORD_SAMPLES, RECORD_SECONDS, record_features
from labram_jax.data_prep.cleaning.clean import CleanRecording, Piece, clean
from labram_jax.data_prep.readers import recording
from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.writer import write_shard
from labram_jax.errors import InputError
from labram_jax.jsonfile import read_json


class RecordingFile(NamedTuple):
    """Where a recording is: a file, or a part of one, and the names of the recording and of its subject."""

    path: Path
    part: str
    recording: str
    subject: str


@dataclass(frozen=True)
class ShardJob:
    """The recordings of one shard and everything that turns them into records.

    The files are `folder/name.array_record`, `folder/name.npy` (quality) and, last of all, the report
    `folder/name.json`; `name` holds a digest of all that decides what is in them. `deadly` are the names of recordings
    that are not opened, since the process that does so dies.
    """

    folder: Path
    name: str
    recipe: Recipe
    recordings: tuple[RecordingFile, ...]
    electrodes: tuple[str, ...]
    deadly: frozenset[str] = frozenset()

    @property
    def records_file(self) -> Path:
        return self.folder / f"{self.name}.array_record"

    @property
    def quality_file(self) -> Path:
        return self.folder / f"{self.name}.npy"

    @property
    def report_file(self) -> Path:
        return self.folder / f"{self.name}.json"


@dataclass
class RecordingReport:
    """What became of one recording; `reason` says why it could not be used.

    `pieces` are (start in seconds, samples at 200 Hz), `excluded` are (start, stop, why) in seconds; `seconds` is the
    length of the recording, of which `lost_seconds` are in no piece. `bad_seconds` counts, by kind, the bad seconds of
    all electrodes. `digest` is the sha256 of its signal, as stored, one piece after another.
    """

    path: str
    recording: str
    subject: str
    reason: str | None = None
    notes: list[str] = field(default_factory=list)
    electrodes: int = 0
    seconds: float = 0.0
    lost_seconds: float = 0.0
    pieces: list[tuple[float, int]] = field(default_factory=list)
    excluded: list[tuple[float, float, str]] = field(default_factory=list)
    bad_seconds: dict[str, int] = field(default_factory=dict)
    digest: str = ""

    def why_unusable(self) -> str:
        """Returns the reason with the recording's path, which many reasons name already."""
        return self.reason if self.path in self.reason else f"{self.path}: {self.reason}"


@dataclass(frozen=True)
class ShardReport:
    """What one shard holds: how many records, and a report of each recording, in the job's order."""

    records: int
    recordings: list[RecordingReport]


def open_reader(file: RecordingFile, recipe: Recipe) -> Reader:
    """Opens a recording in the way of its corpus."""
    return (recipe.open or recording.open_recording)(file.path, file.part, recipe.unit)


def check_name(file: RecordingFile) -> None:
    """Raises InputError for names that are no text or end a line, which file systems allow and tables do not."""
    names = "".join((str(file.path), *file[1:]))
    try:
        names.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"The name {printable(str(file.path))} is no valid UTF-8: rename it.") from error
    if "\r" in names:
        raise InputError(f"The name {printable(str(file.path))} holds a carriage return: rename it.")


def printable(name: str) -> str:
    """Returns a name with whatever is no text in it, or ends a line of a table, spelt out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8").replace("\r", "\\r")


def reason_of(error: Exception) -> str:
    """Returns in one sentence why a recording cannot be used, from whatever it raised."""
    if isinstance(error, InputError):
        return str(error)
    text = " ".join(str(error).split()).rstrip(".")[:200]
    return f"It cannot be prepared ({type(error).__name__}{f': {text}' if text else ''})."


def died(file: RecordingFile) -> str:
    """Returns the reason of a recording of which processes die."""
    return (
        f"The process that reads {printable(str(file.path))} dies, also when nothing else runs: the file may be "
        "damaged so that its reader crashes, or need more memory than there is."
    )


def prepare_shard(job: ShardJob) -> ShardReport:
    """Prepares the recordings of one shard and writes its files; a finished shard is read, not made again."""
    if job.report_file.exists():
        return _read_report(job.report_file)
    reports: list[RecordingReport] = []
    qualities = [np.zeros((0, len(job.electrodes)), dtype=np.uint8)]
    features = record_features(len(job.electrodes), job.recipe.dtype)
    records = write_shard(job.records_file, _records(job, reports, qualities), features)
    _write_quality(job.quality_file, np.concatenate(qualities))
    result = ShardReport(records, reports)
    _write_report(job.report_file, result)
    return result


def _records(
    job: ShardJob, reports: list[RecordingReport], qualities: list[UInt8[np.ndarray, "seconds C"]]
) -> Iterator[dict[str, Any]]:
    """Yields the records of each recording in turn; adds its report and the quality of its pieces to the lists."""
    for file in job.recordings:
        report = RecordingReport(str(file.path), file.recording, file.subject)
        reports.append(report)
        try:
            if file.recording in job.deadly:
                raise InputError(died(file))
            cleaned = _clean(job, file, report)
        except Exception as error:  # one recording never ends a build, whatever its reader meets
            report.reason = reason_of(error)
            continue
        for piece in cleaned.pieces:
            qualities.append(piece.quality)
            yield from _records_of(piece, file.recording)


def _clean(job: ShardJob, file: RecordingFile, report: RecordingReport) -> CleanRecording:
    """Cleans one recording and fills in its report."""
    reader = open_reader(file, job.recipe)
    report.seconds, report.notes = reader.header.seconds, list(reader.header.notes)
    report.excluded = _excluded(reader.header)
    cleaned = clean(reader, job.recipe, job.electrodes)
    report.electrodes, report.notes = len(cleaned.electrodes), list(cleaned.notes)
    report.lost_seconds = cleaned.lost_seconds
    report.pieces = [(piece.start_seconds, piece.eeg.shape[1]) for piece in cleaned.pieces]
    for kind, bit in QUALITY.items():
        if count := sum(int(np.count_nonzero(piece.quality & bit)) for piece in cleaned.pieces):
            report.bad_seconds[kind] = count
    report.digest = _digest(cleaned.pieces)
    return cleaned


def _digest(pieces: Sequence[Piece]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(np.ascontiguousarray(piece.eeg).data.cast("B"))
    return digest.hexdigest()


def _excluded(header: Header) -> list[tuple[float, float, str]]:
    """Returns the annotated stretches; one of no length is the sample that it is at."""
    return [
        (float(start), float(start + max(duration, 1 / header.rate_hz)), " ".join(text.split()))
        for start, duration, text in header.excluded
    ]


def _records_of(piece: Piece, name: str) -> Iterator[dict[str, Any]]:
    """Yields a piece as records; behind its end the last one holds zeros."""
    samples = piece.eeg.shape[1]
    for number, start in enumerate(range(0, samples, RECORD_SAMPLES)):
        eeg = piece.eeg[:, start : start + RECORD_SAMPLES]
        if eeg.shape[1] < RECORD_SAMPLES:
            eeg = np.pad(eeg, ((0, 0), (0, RECORD_SAMPLES - eeg.shape[1])))
        yield {
            "eeg": np.ascontiguousarray(eeg),
            "recording": name,
            "start_seconds": np.float32(piece.start_seconds + number * RECORD_SECONDS),
        }


def _write_quality(path: Path, quality: UInt8[np.ndarray, "seconds C"]) -> None:
    content = io.BytesIO()
    np.save(content, quality)
    _write_whole(path, content.getvalue())


def _write_report(path: Path, report: ShardReport) -> None:
    """The report comes last: where it is, the shard is finished."""
    _write_whole(path, json.dumps(asdict(report)).encode())


def _write_whole(path: Path, content: bytes) -> None:
    """The file appears under its name only when whole, also where two workers write it at once."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_report(path: Path) -> ShardReport:
    content = read_json(path, "remove it, and its shard is made again")
    return ShardReport(content["records"], [recording_report(entry) for entry in content["recordings"]])


def recording_report(entry: dict[str, Any]) -> RecordingReport:
    """Returns the report whose `asdict` went through JSON, which knows no tuples."""
    pairs = {name: [tuple(values) for values in entry[name]] for name in ("pieces", "excluded")}
    return RecordingReport(**{**entry, **pairs})
