"""Corpora of signal that a test made up, built as any other: by `labram_jax.data_prep.build`."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import CORPUS_FILE, FINITE_ONLY, QualityLimits
from labram_jax.data_prep.build import build
from labram_jax.data_prep.readers.reader import ArrayReader, Reader
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.table import COLUMNS, CorpusTable, Split
from labram_jax.jsonfile import read_json, write_json


@dataclass
class MadeRecording:
    """A recording: its signal in microvolts at 200 Hz, and its spans as (start, stop, split, label).

    `cuts` are the samples at which a new piece begins, `bads` the electrodes that it marks as bad.
    """

    name: str
    subject: str
    electrodes: Sequence[str]
    eeg: np.ndarray
    spans: list[tuple[float, float, str, Any]]
    cuts: Sequence[int] = ()
    bads: Sequence[str] = field(default_factory=list)


def make_corpus(
    folder: Path,
    recordings: Sequence[MadeRecording],
    classes: Sequence[str] | None = ("closed", "open"),
    *,
    window_seconds: int | None = None,
    dtype: str = "float16",
    quality: QualityLimits = FINITE_ONLY,
    recordings_per_shard: int = 2,
    shared_subjects: bool = False,
) -> Corpus:
    """Builds the corpus in `folder`; the recordings' files lie beside it."""
    rows = []
    for recording in recordings:
        path = folder.parent / f"{folder.name}-recordings" / f"{recording.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            eeg=recording.eeg,
            electrodes=np.asarray(recording.electrodes),
            cuts=np.asarray(recording.cuts, dtype=int),
            bads=np.asarray(recording.bads, dtype=str),
        )
        rows += [
            (path, "", recording.name, recording.subject, split, label, start, stop)
            for start, stop, split, label in recording.spans
        ]
    table = CorpusTable(
        folder.name,
        pd.DataFrame(rows, columns=list(COLUMNS)),
        Split("given", allow_shared_subjects=shared_subjects),
        Recipe(filters=None, quality=quality, dtype=dtype, open=open_made),
        None if classes is None else tuple(classes),
        window_seconds,
    )
    build(table, folder, recordings_per_shard=recordings_per_shard)
    return Corpus.open(folder)


def without_digests(corpus: Corpus) -> Corpus:
    """The corpus as an earlier version would have described it."""
    path = corpus.path / CORPUS_FILE
    content = {name: value for name, value in read_json(path).items() if name not in ("digests", "digest")}
    write_json(path, content)
    return Corpus.open(corpus.path)


def open_made(path: Path, part: str, unit: str | None) -> Reader:
    """Opens what `make_corpus` left."""
    with np.load(path) as made:
        reader = ArrayReader(made["eeg"], made["electrodes"].tolist(), 200.0)
        edges = [0, *made["cuts"].tolist(), made["eeg"].shape[1]]
        bads = frozenset(made["bads"].tolist())
    pieces = tuple(itertools.pairwise(edges))
    reader.header = type(reader.header)(**{**vars(reader.header), "pieces": pieces, "marked_bad": bads})
    return reader
