"""Corpora of noise for benchmarks, built as any other: by `labram_jax.data_prep.build`."""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import (
    EXCLUDED_COLUMNS,
    PIECE_COLUMNS,
    QUALITY,
    QUALITY_FILE,
    RATE_HZ,
    RECORD_SECONDS,
    SPAN_COLUMNS,
    CorpusInfo,
    file_digest,
)
from labram_jax.data.tables import Tables
from labram_jax.data_prep.build import build
from labram_jax.data_prep.readers.reader import ArrayReader, Reader
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of
from labram_jax.montage import ELECTRODES

# The noise of a recording is this much, moved on for each of its parts: making it new would take longer than reading.
_NOISE_SECONDS = 60


def random_corpus(
    folder: Path, electrodes: int, seconds: int, recordings: int, shards: int, flagged: float = 0.0
) -> Corpus:
    """Builds a corpus of `recordings` recordings of so many `seconds`, all for training, labelled 0 and 1 in turn.

    In a share `flagged` of all seconds one electrode is called bad.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    spans = []
    for number in range(recordings):
        path = folder.parent / f"{electrodes}-{seconds}-{number}.noise"
        path.touch()
        spans.append(Span(path, path.stem, f"s{number}", "train", number % 2))
    recipe = Recipe(filters=None, open=open_noise)
    table = CorpusTable(folder.name, rows_of(spans), Split("given"), recipe, ("a", "b"))
    build(table, folder, recordings_per_shard=-(-recordings // shards))
    info = CorpusInfo.read(folder)
    digests = dict(info.digests)
    for path in folder.glob(f"*/{QUALITY_FILE}"):
        quality = np.load(path)
        flag(quality, flagged, 1)
        np.save(path, quality)
        digests[str(path.relative_to(folder))] = file_digest(path)
    info.with_digests(digests).write(folder)
    return Corpus.open(folder)


def open_noise(path: Path, part: str, unit: str | None) -> Reader:
    """Makes up the recording that its name ELECTRODES-SECONDS-NUMBER describes."""
    electrodes, seconds, number = map(int, path.stem.split("-"))
    return ArrayReader(noise(electrodes, seconds, number), ELECTRODES[:electrodes], RATE_HZ)


def noise(electrodes: int, seconds: int, seed: int = 0) -> np.ndarray:
    """Returns float32 [electrodes, samples] of 30 microvolts."""
    generator = np.random.default_rng(seed)
    some = generator.normal(scale=30, size=(electrodes, _NOISE_SECONDS * RATE_HZ)).astype(np.float32)
    return np.tile(some, -(-seconds // _NOISE_SECONDS))[:, : seconds * RATE_HZ]


def records(signal: np.ndarray, samples: int) -> Iterator[Mapping[str, Any]]:
    """Yields a signal as records of so many samples, for `labram_jax.data_prep.writer.write_shard`."""
    for start in range(0, signal.shape[1] - samples + 1, samples):
        eeg = np.ascontiguousarray(signal[:, start : start + samples], dtype=np.float16)
        yield {"eeg": eeg, "recording": "r", "start_seconds": np.float32(start / RATE_HZ)}


def made_up_tables(recordings: int, seconds: int) -> Tables:
    """Returns the tables of a corpus of the montage "m", all of one length and for training, without any signal."""
    names = [f"r{number}" for number in range(recordings)]
    pieces = pd.DataFrame(
        {
            "montage": "m",
            "recording": names,
            "subject": names,
            "start_seconds": 0.0,
            "samples": seconds * RATE_HZ,
            "first_record": np.arange(recordings) * -(-seconds // RECORD_SECONDS),
            "first_second": np.arange(recordings) * seconds,
        }
    )
    spans = pd.DataFrame({"recording": names, "subject": names, "split": "train", "start": 0.0, "stop": np.nan})
    return Tables(pieces[list(PIECE_COLUMNS)], spans[list(SPAN_COLUMNS)], pd.DataFrame(columns=list(EXCLUDED_COLUMNS)))


def flag(quality: np.ndarray, share: float, electrodes: int) -> None:
    """Calls some electrodes flat in a share of all seconds, drawn at random."""
    generator = np.random.default_rng(0)
    seconds = generator.choice(len(quality), round(share * len(quality)), replace=False)
    for _ in range(electrodes):
        quality[seconds, generator.integers(quality.shape[1], size=len(seconds))] |= QUALITY["flat"]


def forget(paths: Iterable[Path]) -> None:
    """Drops files from the system's memory, so that they are read from disk again."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)  # what was not yet written cannot be dropped
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
