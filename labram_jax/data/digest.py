"""By what a corpus is known, wherever it lies: one digest of what its windows and their signal come from."""

import hashlib
from collections.abc import Iterator

import numpy as np

from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import (
    CORPUS_FILE,
    EXCLUDED_FILE,
    PIECES_FILE,
    QUALITY_FILE,
    RATE_HZ,
    SPANS_FILE,
    MontageInfo,
    file_digest,
)
from labram_jax.data.signal import Stretch

# Pieces whose beginnings are in memory at one time.
_PIECES = 256


def corpus_digest(corpus: Corpus) -> str:
    """The digest that the corpus carries, or one of description, tables, flags, and how each piece begins.

    The latter is for corpora of earlier versions. Of a piece the first second is read, since whatever is done to a
    recording (filters, units, electrodes) is done to all of it, and the whole signal of large corpora takes hours.
    """
    if corpus.info.digest:
        return corpus.info.digest
    digest = hashlib.sha256()
    for name in (CORPUS_FILE, PIECES_FILE, SPANS_FILE, EXCLUDED_FILE):
        digest.update((corpus.path / name).read_bytes())
    for montage in corpus.montages:
        digest.update(bytes.fromhex(file_digest(corpus.path / montage.name / QUALITY_FILE)))
        for beginnings in _beginnings(corpus, montage):
            digest.update(beginnings.data.cast("B"))
    return digest.hexdigest()


def _beginnings(corpus: Corpus, montage: MontageInfo) -> Iterator[np.ndarray]:
    """Yields the first second of every piece of a montage, as stored, some pieces at a time."""
    pieces, signal = corpus.tables.pieces, corpus.signal(montage)
    firsts = pieces.loc[pieces["montage"] == montage.name, "first_record"].tolist()
    for start in range(0, len(firsts), _PIECES):
        own = firsts[start : start + _PIECES]
        out = np.empty((len(own), len(montage.electrodes), RATE_HZ), signal.dtype)
        signal.read([Stretch(first, 0, None, part) for first, part in zip(own, out, strict=True)])
        yield out
