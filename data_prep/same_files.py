"""One file is one recording, whatever paths lead to it: `a.edf`, `sub/../a.edf`, links of both kinds, other cases."""

import os
from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from labram_jax.data_prep.table import CorpusTable
from labram_jax.errors import InputError


def each_file_once(table: CorpusTable) -> CorpusTable:
    """Returns the table with each file, or part of one, under its first name; the others are listed as unusable.

    Raises:
      InputError: two names of one file say something else of it (subject, split, label, stretches).
    """
    first: dict[Hashable, str] = {}
    again: dict[str, str] = {}
    recordings = table.rows[["path", "part", "recording"]].drop_duplicates("recording")
    for path, part, name in recordings.itertuples(index=False):
        known = first.setdefault((_identity(Path(path)), part), name)
        if known != name:
            again[name] = known
    if not again:
        return table
    rows = dict(iter(table.rows.groupby("recording", sort=False)))
    unusable = []
    for name, known in again.items():
        path, other = rows[name]["path"].iloc[0], rows[known]["path"].iloc[0]
        if _said(rows[name]) != _said(rows[known]):
            raise InputError(
                f"{path} and {other} are one file, of which two recordings ({name!r} and {known!r}) say something else "
                "(subject, split, label or stretch): name it once, or test data would be trained on."
            )
        unusable.append((str(path), f"{path} is the file of {known!r} under another name, as which it is taken."))
    kept = table.rows[~table.rows["recording"].isin(again)].reset_index(drop=True)
    return replace(table, rows=kept, unusable=(*table.unusable, *unusable))


def _identity(path: Path) -> Hashable:
    try:
        state = path.stat()
    except OSError:  # the survey tells of it
        return os.path.realpath(path)
    return state.st_dev, state.st_ino


def _said(rows: pd.DataFrame) -> list[tuple]:
    said = rows[["subject", "split", "label", "start", "stop"]].astype(object)
    return list(said.where(said.notna(), None).itertuples(index=False, name=None))
