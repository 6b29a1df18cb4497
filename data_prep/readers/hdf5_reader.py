"""Reads recordings out of the HDF5 files of the official pretraining scripts.

A file holds one group per recording: the dataset `eeg` [electrodes, samples] in microvolts, with the attributes
`rsFreq` (200 Hz) and `chOrder` (the names of its rows).
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64

from labram_jax.data.schema import RATE_HZ
from labram_jax.data_prep.readers.mne_reader import cause
from labram_jax.data_prep.readers.reader import Header, Reader
from labram_jax.errors import InputError

# EEG shrinks by less than this in a file; HDF5 makes up what is not stored.
_MOST_SHRUNK = 1000


def open_group(path: Path, part: str, unit: str | None = None) -> Reader:
    """Opens the group `part` of an official HDF5 file, whose unit is microvolts.

    Raises:
      InputError: the file is damaged, or the group has not the layout that the module describes.
    """
    try:
        with h5py.File(path, "r") as file:
            return _GroupReader(path, part, group_header(file, part, path))
    except InputError:
        raise
    except Exception as error:  # h5py raises whatever parsing a damaged file meets
        raise InputError(f"{path} is not an HDF5 file ({cause(error)}); obtain it again.") from error


class _GroupReader(Reader):
    def __init__(self, path: Path, group: str, header: Header):
        self._path, self._group, self.header = path, group, header

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        rows = [self.header.channels.index(name) for name in channels]
        try:
            with h5py.File(self._path, "r") as file:
                return file[self._group]["eeg"][:, start:stop].astype(np.float64)[rows]
        except Exception as error:
            raise InputError(
                f"{self._path}, group {self._group!r} cannot be read ({cause(error)}); obtain the file again."
            ) from error


def group_header(file: h5py.File, group: str, path: Path) -> Header:
    """Returns what a group says of itself; raises InputError where it has not the layout of the module's docstring."""
    where = f"{path}, group {group!r},"
    try:
        eeg = file[group]["eeg"]
        shape = eeg.shape
        rate = float(eeg.attrs["rsFreq"])
        channels = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in eeg.attrs["chOrder"])
        stored = eeg.id.get_storage_size()
        described = eeg.nbytes
    except Exception as error:  # h5py raises whatever parsing a damaged file meets
        raise InputError(
            f"{where} has not the layout of the official scripts ({cause(error)}); prepare it anew."
        ) from error
    if described > _MOST_SHRUNK * stored:
        raise InputError(
            f"{where} is said to hold {described} bytes, of which {stored} are stored: obtain the file again."
        )
    if rate != RATE_HZ:
        raise InputError(f"{where} is at {rate:g} Hz, but the official files are at {RATE_HZ} Hz; resample it.")
    if len(shape) != 2 or shape[0] != len(channels):
        raise InputError(f"{where} has the shape {shape} but names {len(channels)} electrodes; correct chOrder.")
    return Header(channels, rate, shape[1], ((0, shape[1]),), others={})
