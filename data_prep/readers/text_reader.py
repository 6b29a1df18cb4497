"""Reads recordings kept as text, one sample a line, whose electrodes an impedance table beside them names.

    eeg.txt                   `64 channels`, then in each line the time in seconds and one value a channel, tabs between
    impedances-before.txt     after a line that begins with `Phys. Chn.`: `#1`, the channel's name, ..., tabs between

So the Brain Products recordings of MoBI are kept (`data_prep/corpora/mobi.py`).
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.data_prep.readers.recording import sentences
from labram_jax.data_prep.readers.units import UNITS, check_unit
from labram_jax.errors import InputError

RATE_HZ = 100.0
IMPEDANCES = "impedances-before.txt"
_GROUND = ("REF", "GND")
# The times of single samples may be rounded or jitter; over a whole recording they may be off by this share.
_MOST_OFF = 0.01


class TextReader(Reader):
    """A recording of `path` whose first line says how many channels there are; `others` of them are no EEG."""

    def __init__(self, path: Path, names: Sequence[str], others: dict[str, str], unit: str | None):
        self._path, self._names, self._factor = path, tuple(names), UNITS[unit or "uV"]
        self._eeg: np.ndarray | None = None
        times = read_columns(path, 1, range(1))[:, 0]
        check_times(times, path)
        channels = tuple(name for name in names if name not in others)
        self.header = Header(channels, RATE_HZ, len(times), ((0, len(times)),), others, format="text")

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        if self._eeg is None:  # text can only be read from its beginning: once for all
            with sentences(self._path):
                self._eeg = self._factor * read_columns(self._path, 1, range(1, len(self._names) + 1))
        rows = [self._names.index(name) for name in channels]
        return np.ascontiguousarray(self._eeg[start:stop, rows].T)


def open_text(path: Path, eye_channels: Sequence[str], unit: str | None = None) -> TextReader:
    """Opens a recording, whose values are microvolts unless `unit` says other; `eye_channels` are beside the eyes.

    Raises:
      InputError: one of the two files is absent or not laid out as the module describes, they name different numbers
        of channels, or the times are not those of 100 Hz.
    """
    check_unit(unit)
    with sentences(path):
        names = _channel_names(path.with_name(IMPEDANCES))
        with path.open(encoding="utf-8") as file:
            found = re.match(r"\s*(\d+) channels", file.readline(80))
        if found is None or int(found[1]) != len(names):
            raise InputError(
                f"{path} does not begin with '{len(names)} channels', as many as {IMPEDANCES} names: obtain it again."
            )
        others = {name: f"{name!r} was worn beside an eye (EOG)." for name in names if name.upper() in eye_channels}
        return TextReader(path, names, others, unit)


def read_columns(path: Path, skipped: int, columns: range) -> Float64[np.ndarray, "rows columns"]:
    """Returns columns of a text file with tabs, behind its first `skipped` lines; what is left empty is NaN.

    Raises ValueError, as pandas does, for what is no number or a line that is too long.
    """
    cells = pd.read_csv(path, sep="\t", skiprows=skipped, header=None, usecols=list(columns), dtype=np.float64)
    return cells.to_numpy()


def check_times(times: Float64[np.ndarray, "samples"], path: Path) -> None:
    """Raises InputError where the times of samples are not those of 100 Hz."""
    expected = (len(times) - 1) / RATE_HZ
    if not abs(times[-1] - times[0] - expected) <= max(_MOST_OFF * expected, 2 / RATE_HZ):
        raise InputError(
            f"{path} has {len(times)} samples between {times[0]:g} and {times[-1]:g} s, which is not {RATE_HZ:g} Hz: "
            "obtain it again."
        )


def _channel_names(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(f"There is no {file}, which names the channels of the recording: put it beside eeg.txt.")
    table = file.read_text(encoding="utf-8", errors="replace").partition("Phys. Chn.")[2]
    rows = [[cell.strip() for cell in line.split("\t")] for line in table.splitlines()]
    names = [row[1] for row in rows if len(row) > 1 and row[0].startswith("#") and row[1].upper() not in _GROUND]
    if not names or len(set(names)) < len(names):
        raise InputError(f"{file} names {'no channel' if not names else 'a channel twice'}: obtain it again.")
    return names
