"""Splits that a configuration makes of a corpus, whatever the corpus says: by subject, or by time."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from labram_jax.config import DataConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import RATE_HZ
from labram_jax.data.tables import Tables
from labram_jax.errors import InputError

_MOST_NAMED = 8


def check_subjects(data: DataConfig, corpora: Sequence[Corpus]) -> None:
    """Raises InputError where the configuration names a subject whom no corpus has."""
    there = {subject for corpus in corpora for subject in corpus.tables.spans["subject"]}
    for field in ("validation_subjects", "test_subjects"):
        absent = sorted({*getattr(data, field)} - there)
        if absent:
            known = ", ".join(sorted(there)[:_MOST_NAMED]) + (", ..." if len(there) > _MOST_NAMED else "")
            raise InputError(f"data.{field} names {', '.join(absent)}, but the corpora have the subjects {known}.")


def with_splits(data: DataConfig, corpus: Corpus) -> Corpus:
    """The corpus with the splits that the configuration makes; with its own where it makes none."""
    if not data.resplits:
        return corpus
    spans = _by_time(corpus.tables, data) if data.time_folds else _by_subject(corpus.tables.spans, data)
    return dataclasses.replace(corpus, tables=dataclasses.replace(corpus.tables, spans=spans))


def _by_subject(spans: pd.DataFrame, data: DataConfig) -> pd.DataFrame:
    validates, tests = (spans["subject"].isin(own) for own in (data.validation_subjects, data.test_subjects))
    return spans.assign(split=np.select([validates, tests], ["validation", "test"], "train"))


def _by_time(tables: Tables, data: DataConfig) -> pd.DataFrame:
    """Spans cut at the edges of the stretches, which part each recording's time from its first span to its last.

    No window crosses an edge, so that the windows of short spans which lie across one are lost.
    """
    pieces, folds = tables.pieces, data.time_folds
    ends = (pieces["start_seconds"] + pieces["samples"] / RATE_HZ).groupby(pieces["recording"]).max()
    spans = tables.spans.assign(stop=tables.spans["stop"].fillna(tables.spans["recording"].map(ends)))
    spans = spans[spans["stop"].notna()]  # a recording without any signal has no end
    recordings = spans.groupby("recording")
    first, last = recordings["start"].transform("min").to_numpy(), recordings["stop"].transform("max").to_numpy()
    edges = first[:, None] + (last - first)[:, None] * np.arange(folds + 1) / folds
    start = np.maximum(edges[:, :-1], spans["start"].to_numpy()[:, None])
    stop = np.minimum(edges[:, 1:], spans["stop"].to_numpy()[:, None])
    numbers = np.broadcast_to((np.arange(folds) - data.test_fold) % folds, start.shape)
    split = np.select([numbers == 0, numbers == 1], ["test", "validation"], "train")
    cut = spans.loc[spans.index.repeat(folds)].assign(start=start.ravel(), stop=stop.ravel(), split=split.ravel())
    return cut[cut["stop"] > cut["start"]].reset_index(drop=True)
