"""Puts the shards of a build together: the signal of each montage, and the tables beside it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from labram_jax.data.schema import (
    EXCLUDED_COLUMNS,
    EXCLUDED_FILE,
    PIECE_COLUMNS,
    PIECES_FILE,
    QUALITY_FILE,
    RATE_HZ,
    RECORD_SAMPLES,
    SIGNAL,
    SPAN_COLUMNS,
    SPANS_FILE,
    SPLITS,
    CorpusInfo,
    MontageInfo,
    file_digest,
    record_features,
)
from labram_jax.data.tables import Tables
from labram_jax.data_prep.shard import RecordingReport, ShardJob, ShardReport
from labram_jax.data_prep.survey import Montage
from labram_jax.data_prep.table import CorpusTable
from labram_jax.data_prep.writer import finish_montage

Results = Sequence[tuple[ShardJob, ShardReport]]


def finish(
    table: CorpusTable, spans: pd.DataFrame, found: Sequence[Montage], results: Results, folder: Path
) -> tuple[CorpusInfo, Tables]:
    """Writes the signal, quality and tables of a corpus into `folder`; may be repeated after an interruption.

    `spans` are the split rows of the table; those of recordings that gave no piece are left out.
    """
    montages = [_montage(table, montage, results, folder) for montage in found]
    reports = {report.recording: report for _, result in results for report in result.recordings}
    used = {name: report for name, report in reports.items() if report.reason is None}
    spans = spans[spans["recording"].isin(used.keys())]
    info = CorpusInfo(
        name=table.name,
        montages=tuple(montage for montage in montages if montage.seconds),
        classes=table.classes,
        label=_label(table),
        outputs=_outputs(table),
        dtype=table.recipe.dtype,
        quality=table.recipe.quality,
        window_seconds=table.window_seconds,
        split_by=table.split.by,
        subjects={split: n for split in SPLITS if (n := spans["subject"][spans["split"] == split].nunique())},
        filters=None if table.recipe.filters is None else asdict(table.recipe.filters),
        provenance=table.provenance,
    )
    tables = Tables(_pieces(found, results), _spans(spans, info), _excluded(spans, used))
    tables.write(folder)
    return info.with_digests(_digests(info, results, folder)), tables


def _montage(table: CorpusTable, montage: Montage, results: Results, folder: Path) -> MontageInfo:
    """Moves the shards of one montage together; one without signal gets no folder."""
    mine = [(job, result) for job, result in results if job.folder.name == montage.name]
    shards = [(job.records_file, result.records) for job, result in mine]
    if any(count for _, count in shards):
        features = record_features(len(montage.electrodes), table.recipe.dtype)
        metadata = {"electrodes": list(montage.electrodes), "corpus": table.name}
        finish_montage(folder / montage.name, features, shards, [job.quality_file for job, _ in mine], metadata)
    samples = sum(samples for _, result in mine for report in result.recordings for _, samples in report.pieces)
    return MontageInfo(montage.name, montage.electrodes, samples / RATE_HZ)


def _digests(info: CorpusInfo, results: Results, folder: Path) -> dict[str, str]:
    """Returns the digests of tables, flags and signal; how recordings are dealt out to shards changes none of them."""
    flags = (f"{montage.name}/{QUALITY_FILE}" for montage in info.montages)
    digests = {name: file_digest(folder / name) for name in (PIECES_FILE, SPANS_FILE, EXCLUDED_FILE, *flags)}
    for montage in info.montages:
        mine = (result.recordings for job, result in results if job.folder.name == montage.name)
        signal = "".join(report.digest for recordings in mine for report in recordings)
        digests[f"{montage.name}/{SIGNAL}"] = hashlib.sha256(signal.encode()).hexdigest()
    return digests


def _pieces(found: Sequence[Montage], results: Results) -> pd.DataFrame:
    """Returns the pieces in the order in which their montage stores them."""
    rows = []
    for montage in found:
        record = second = 0
        for job, result in results:
            for report in result.recordings if job.folder.name == montage.name else ():
                for start, samples in report.pieces:
                    rows.append((montage.name, report.recording, report.subject, start, samples, record, second))
                    record += -(-samples // RECORD_SAMPLES)
                    second += -(-samples // RATE_HZ)
    return pd.DataFrame(rows, columns=list(PIECE_COLUMNS))


def _spans(spans: pd.DataFrame, info: CorpusInfo) -> pd.DataFrame:
    result = spans[list(SPAN_COLUMNS)].reset_index(drop=True)
    if info.label == "class":
        labels = [pd.NA if _no_label(label) else int(label) for label in spans["label"]]
        result["label"] = pd.array(labels, dtype="Int64")
    elif info.label == "vector":
        nothing = (np.nan,) * info.outputs
        vectors = [nothing if _no_label(label) else label for label in spans["label"]]
        result[list(info.label_columns)] = np.array(vectors, dtype=np.float64).reshape(len(vectors), info.outputs)
    return result


def _excluded(spans: pd.DataFrame, used: Mapping[str, RecordingReport]) -> pd.DataFrame:
    rows = [(recording, *stretch) for recording in spans["recording"].unique() for stretch in used[recording].excluded]
    return pd.DataFrame(rows, columns=list(EXCLUDED_COLUMNS))


def _label(table: CorpusTable) -> str | None:
    return "class" if table.classes is not None else "vector" if _outputs(table) else None


def _outputs(table: CorpusTable) -> int | None:
    """Returns the length of a label vector, or None."""
    if table.classes is not None:
        return None
    return next((len(label) for label in table.rows["label"] if isinstance(label, tuple)), None)


def _no_label(label: object) -> bool:
    return label is None or (not isinstance(label, tuple) and bool(pd.isna(label)))
