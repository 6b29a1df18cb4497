"""The HDF5 files of the official LaBraM pretraining scripts, so that what was prepared for them moves over.

    labram-jax prepare official-hdf5 FOLDER_OR_FILE OUT

Each file holds one group per recording: the dataset `eeg` [electrodes, samples] in microvolts, with the attributes
`rsFreq` (200 Hz) and `chOrder` (the names of its rows). The signal is taken as it is: those scripts filtered it. The
files are taken in the order of their names, the groups in the order of h5py.

The official loader takes a part of each recording, from `start_fraction` to `end_fraction` of its windows; so do these
options, which count windows of `--window-seconds` every `--stride-seconds`. Read with the same window and stride, the
corpus gives the official windows; where the fractions are 0 and 1, any others as well.

Unlike that loader a recording shorter than a window takes no window from its neighbour, every group keeps its own
montage, and nothing of the wrong rate is taken for 200 Hz: such a group is reported. Everything is for training unless
`--split-by subject` sends whole recordings to train, validation and test (0.8, 0.1 and 0.1). The official scripts pair
a training stride of 4 s (1 s for the tokenizer) with windows that make about 256 patches.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from labram_jax.data.schema import FINITE_ONLY, RATE_HZ
from labram_jax.data_prep.options import ElectrodeOptions, SplitOptions
from labram_jax.data_prep.readers.hdf5_reader import group_header, open_group
from labram_jax.data_prep.readers.mne_reader import cause
from labram_jax.data_prep.sources.files import Unusable, find_files, recording_name
from labram_jax.data_prep.table import CorpusTable, Span, rows_of
from labram_jax.errors import InputError

SOURCE = "an HDF5 file of the official scripts, or the folder that holds some"
SUFFIXES = (".hdf5", ".h5")
FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True)
class Options(SplitOptions, ElectrodeOptions):
    """What may be asked for when moving official HDF5 files over."""

    split_by: Literal["none", "subject"] = "none"
    """All to train, or whole recordings to one split (0.8, 0.1 and 0.1)."""
    start_fraction: float = 0.0
    """Where in a recording the windows begin that are taken, as a share of them (0 to 1)."""
    end_fraction: float = 1.0
    """Where in a recording the windows end that are taken, as a share of them (0 to 1)."""
    window_seconds: int = 4
    """The windows that the two fractions count, in seconds."""
    stride_seconds: float = 4.0
    """How far apart the windows are that the two fractions count, in seconds."""

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.start_fraction < self.end_fraction <= 1:
            raise InputError(
                f"start_fraction = {self.start_fraction}, end_fraction = {self.end_fraction}: "
                "give 0 <= start < end <= 1."
            )
        if self.window_seconds < 1 or self.stride_seconds < 1 / RATE_HZ:
            raise InputError(
                f"window_seconds = {self.window_seconds}, stride_seconds = {self.stride_seconds}: give windows of at "
                f"least 1 s that are at least one sample ({1 / RATE_HZ:g} s) apart."
            )


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of every group of an HDF5 file, or of all such files of a folder.

    Raises:
      InputError: the source is absent or holds no such file.
    """
    if source is None or not source.exists():
        raise InputError(f"There is no {source}; give {SOURCE}.")
    files, unusable = ([source], []) if source.is_file() else find_files(source, SUFFIXES)
    if not files and not unusable:
        raise InputError(f"{source} holds no HDF5 file ({', '.join(SUFFIXES)}); give the folder that does.")
    root = source.parent if source.is_file() else source
    spans = [span for file in files for span in _groups(file, recording_name(file, root), options, unusable)]
    return CorpusTable(
        source.resolve().stem,
        rows_of(spans),
        options.split(options.split_by, FRACTIONS),
        options.recipe(quality=FINITE_ONLY, open=open_group),
        unusable=tuple(unusable),
        provenance=f"HDF5 of the official pretraining scripts: {', '.join(file.name for file in files)}",
    )


def _groups(file: Path, name: str, options: Options, unusable: list[Unusable]) -> list[Span]:
    """Returns the recordings of a file in h5py's order, and adds what is none to `unusable`."""
    spans = []
    try:
        with h5py.File(file, "r") as opened:
            for group in opened:
                own = f"{name}/{group}"
                try:
                    start, stop = _official_stretch(group_header(opened, group, file).samples, options)
                except InputError as error:
                    unusable.append((f"{file}/{group}", str(error)))
                else:
                    spans.append(Span(file, own, own, start=start, stop=stop, part=group))
    except Exception as error:  # h5py raises whatever parsing a damaged file meets
        unusable.append((str(file), f"{file} is not an HDF5 file ({cause(error)}); obtain it again."))
    return spans


def _official_stretch(samples: int, options: Options) -> tuple[float, float]:
    """Returns the stretch of a recording, in seconds, that holds the windows which the official loader takes.

    The loader truncates fractions of the number of windows toward zero, so that a recording with a single window gives
    it to both halves.

    Raises:
      InputError: the recording holds no such window.
    """
    if (options.start_fraction, options.end_fraction) == (0, 1):
        return 0.0, np.nan
    window, stride = options.window_seconds * RATE_HZ, round(options.stride_seconds * RATE_HZ)
    count = (samples - window) // stride + 1
    first = int(count * options.start_fraction) * stride
    last = int(count * options.end_fraction - 1) * stride
    if count < 1 or last < first:
        raise InputError(
            f"Its {samples / RATE_HZ:g} s hold no window of {options.window_seconds} s between the fractions "
            f"{options.start_fraction:g} and {options.end_fraction:g}."
        )
    return first / RATE_HZ, (last + window) / RATE_HZ
