"""The tables of a corpus beside its signal: pieces, spans, excluded stretches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from labram_jax.data.schema import (
    EXCLUDED_COLUMNS,
    EXCLUDED_FILE,
    PIECE_COLUMNS,
    PIECES_FILE,
    SPAN_COLUMNS,
    SPANS_FILE,
    CorpusInfo,
)
from labram_jax.errors import InputError

_TEXTS = ("montage", "recording", "subject", "split", "reason")
_COUNTS = ("samples", "first_record", "first_second")


@dataclass(frozen=True)
class Tables:
    """The tables of a corpus; `labram_jax.data.schema` says what their columns mean."""

    pieces: pd.DataFrame
    spans: pd.DataFrame
    excluded: pd.DataFrame

    @classmethod
    def read(cls, folder: Path, info: CorpusInfo) -> "Tables":
        """Reads the tables of the corpus in `folder`; raises InputError where one is missing or damaged."""
        return cls(
            _read(folder / PIECES_FILE, PIECE_COLUMNS),
            _read(folder / SPANS_FILE, (*SPAN_COLUMNS, *info.label_columns)),
            _read(folder / EXCLUDED_FILE, EXCLUDED_COLUMNS),
        )

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
    except (OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is missing or damaged ({reason}): copy or prepare the corpus again.") from error
