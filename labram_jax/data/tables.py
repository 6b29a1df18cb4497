"""The tables of a corpus beside its signal: pieces, spans, excluded stretches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from labram_jax.data.schema import (
    ADVICE,
    EXCLUDED_COLUMNS,
    EXCLUDED_FILE,
    PIECE_COLUMNS,
    PIECES_FILE,
    RATE_HZ,
    RECORD_SAMPLES,
    SPAN_COLUMNS,
    SPANS_FILE,
    SPLITS,
    CorpusInfo,
)
from labram_jax.errors import DamageError

_TEXTS = ("montage", "recording", "subject", "split", "reason")
_COUNTS = ("samples", "first_record", "first_second")
_MOST_SAMPLES = 2**48


@dataclass(frozen=True)
class Tables:
    """The tables of a corpus; `labram_jax.data.schema` says what their columns mean."""

    pieces: pd.DataFrame
    spans: pd.DataFrame
    excluded: pd.DataFrame

    @classmethod
    def read(cls, folder: Path, info: CorpusInfo) -> "Tables":
        """Reads the tables of the corpus in `folder`; raises DamageError where one is missing or damaged."""
        pieces, spans, excluded = folder / PIECES_FILE, folder / SPANS_FILE, folder / EXCLUDED_FILE
        tables = cls(
            _read(pieces, PIECE_COLUMNS), _read(spans, (*SPAN_COLUMNS, *info.label_columns)),
            _read(excluded, EXCLUDED_COLUMNS),
        )  # fmt: skip
        _check_pieces(tables.pieces, info, pieces)
        _check_spans(tables.spans, info, spans)
        bad = ~(tables.excluded["start"] <= tables.excluded["stop"])
        _refuse(bad, excluded, "stretch that ends before it starts")
        for name in (PIECES_FILE, SPANS_FILE, EXCLUDED_FILE):
            info.check_file(folder, name)
        return tables

    def write(self, folder: Path) -> None:
        """Writes the tables into `folder`; the same tables make the same bytes."""
        for name, table in ((PIECES_FILE, self.pieces), (SPANS_FILE, self.spans), (EXCLUDED_FILE, self.excluded)):
            table.to_csv(folder / name, index=False, lineterminator="\n", encoding="utf-8")


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    numbers = [name for name in columns if name not in _TEXTS and name not in _COUNTS]
    types = {name: str if name in _TEXTS else "int64" if name in _COUNTS else "float64" for name in columns}
    try:
        table = pd.read_csv(
            path,
            dtype=types,
            # A subject may be called "NA": only numbers have missing values, and these are empty.
            keep_default_na=False,
            na_values={name: [""] for name in numbers},
            float_precision="round_trip",
            lineterminator="\n",  # as they are written: a name may hold a carriage return
            encoding="utf-8",
        )
        return table[list(columns)]
    except FileNotFoundError as error:
        raise DamageError(f"{path} is missing", ADVICE) from error
    except (KeyError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DamageError(f"{path} is damaged ({reason})", ADVICE) from error


def _check_pieces(pieces: pd.DataFrame, info: CorpusInfo, path: Path) -> None:
    """Raises DamageError unless each montage's pieces lie one behind the other, from its first record and second on."""
    _refuse(~pieces["montage"].isin([montage.name for montage in info.montages]), path, "montage that is not described")
    _refuse(~pieces["samples"].between(1, _MOST_SAMPLES), path, "number of samples")
    # Before 0 lies what a protocol puts before the recording, as TUEV does with its end.
    _refuse(~pieces["start_seconds"].between(-_MOST_SAMPLES, _MOST_SAMPLES), path, "start")
    for column, size in (("first_record", RECORD_SAMPLES), ("first_second", RATE_HZ)):
        lengths = -(-pieces["samples"] // size)
        before = lengths.groupby(pieces["montage"]).cumsum() - lengths
        _refuse(pieces[column] != before, path, column)


def _check_spans(spans: pd.DataFrame, info: CorpusInfo, path: Path) -> None:
    _refuse(~spans["split"].isin(SPLITS), path, "split")
    _refuse(~spans["start"].between(-_MOST_SAMPLES, _MOST_SAMPLES), path, "start")
    _refuse((spans["stop"] <= spans["start"]) | np.isinf(spans["stop"]), path, "stop")
    if info.label == "class":
        labels = spans["label"]
        _refuse(labels.notna() & ~labels.isin(range(len(info.classes))), path, "label")


def _refuse(wrong: pd.Series, path: Path, what: str) -> None:
    if wrong.any():
        raise DamageError(
            f"{path} is damaged (the {what} of its row {int(wrong.to_numpy().argmax()) + 1} cannot be)", ADVICE
        )
