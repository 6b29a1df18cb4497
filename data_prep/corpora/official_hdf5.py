"""The HDF5 files of the official LaBraM pretraining scripts, so that what was prepared for them moves over.

    labram-jax prepare official-hdf5 FOLDER_OR_FILE OUT --window-seconds 4 --stride-seconds 4

Each file holds one group per recording: the dataset `eeg` [electrodes, samples] in microvolts, with the attributes
`rsFreq` (200 Hz) and `chOrder` (the names of its rows). The signal is taken as it is: those scripts filtered it. The
files are taken in the order of their names, the groups in the order of h5py, and windows are counted as the official
loader counts them, between `--start-fraction` and `--end-fraction` of each recording.

Unlike that loader a recording shorter than a window takes no window from its neighbour, every group keeps its own
montage, and nothing of the wrong rate is taken for 200 Hz: such a group is reported. Everything is for training unless
`--split-by subject` sends whole recordings to train, validation and test (0.8, 0.1 and 0.1). The official scripts pair
a training stride of 4 s (1 s for the tokenizer) with windows that make about 256 patches.
"""

from dataclasses import replace
from pathlib import Path

import h5py
import mne
import numpy as np

from data_prep.corpora.sources import corpus_plan, recording_name
from data_prep.corpora.splits import chosen_split, split_subjects
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY, CorpusPlan, Header, RecordingPlan, Span
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError

SUFFIXES = (".hdf5", ".h5")
FRACTIONS = (0.8, 0.1, 0.1)


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans every group of an HDF5 file, or of all such files of a folder.

    Raises:
      InputError: the source is absent or holds no such file, or the split is impossible.
    """
    if source is None or not source.exists():
        raise InputError(
            f"There is no {source}; give an HDF5 file of the official scripts, or the folder that holds some."
        )
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{source} holds no HDF5 file ({', '.join(SUFFIXES)}); give the folder that does.")
    by = chosen_split(options, "official-hdf5", "none", ("none", "subject"))
    root = source.parent if source.is_file() else source
    recordings, unusable = [], []
    for file in files:
        found, refused = _groups(file, recording_name(file, root))
        recordings += found
        unusable += refused
    if by == "subject":
        subjects = dict.fromkeys(planned.subject for planned in recordings)
        splits = split_subjects(subjects, options.fractions or FRACTIONS, options.seed)
        recordings = [replace(planned, spans=(Span(split=splits[planned.subject]),)) for planned in recordings]
    return corpus_plan(
        source.stem,
        recordings,
        options,
        filters=None,
        quality=FINITE_ONLY,
        unusable=tuple(unusable),
        align="official",
        official_range=(options.start_fraction, options.end_fraction),
        reader=read_group,
        provenance=f"HDF5 of the official pretraining scripts: {', '.join(file.name for file in files)}",
    )


def read_group(path: Path, group: str | None) -> mne.io.BaseRaw:
    """Returns one group of an official HDF5 file as an MNE raw object (volts, as MNE has it).

    Raises:
      InputError: the file is damaged, or the group has not the layout that the module describes.
    """
    try:
        with h5py.File(path, "r") as file:
            header = _header(file, group, path)
            eeg = np.asarray(file[group]["eeg"], dtype=np.float64)
    except OSError as error:
        raise InputError(f"{path}, group {group!r} cannot be read ({error}); obtain the file again.") from error
    return mne.io.RawArray(eeg * 1e-6, mne.create_info(list(header.channels), header.rate_hz, "eeg"), verbose="ERROR")


def _groups(file: Path, name: str) -> tuple[list[RecordingPlan], list[tuple[str, str]]]:
    """Returns the recordings of a file in h5py's order, and (path, reason) of what is none."""
    recordings, unusable = [], []
    try:
        with h5py.File(file, "r") as opened:
            for group in opened:
                try:
                    header = _header(opened, group, file)
                except InputError as error:
                    unusable.append((f"{file}/{group}", str(error)))
                else:
                    own = f"{name}/{group}"
                    recordings.append(RecordingPlan(file, own, own, group=group, header=header))
    except OSError as error:
        unusable.append((str(file), f"{file} is not an HDF5 file ({error}); obtain it again."))
    return recordings, unusable


def _header(file: h5py.File, group: str | None, path: Path) -> Header:
    """Reads what a group says of itself; raises InputError where it has not the layout of the module's docstring."""
    where = f"{path}, group {group!r},"
    try:
        eeg = file[group]["eeg"]
        shape = eeg.shape
        rate = float(eeg.attrs["rsFreq"])
        channels = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in eeg.attrs["chOrder"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where} has not the layout of the official scripts ({error}); prepare it anew.") from error
    if rate != RATE_HZ:
        raise InputError(f"{where} is at {rate:g} Hz, but the official files are at {RATE_HZ} Hz; resample it.")
    if len(shape) != 2 or shape[0] != len(channels):
        raise InputError(f"{where} has the shape {shape} but names {len(channels)} electrodes; correct chOrder.")
    return Header(channels, rate, shape[1] / rate)
