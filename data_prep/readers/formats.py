"""Opens the formats of which the file says more than MNE's reader tells: breaks, units, parts."""

import re
from collections.abc import Callable
from pathlib import Path

import mne

from labram_jax.data_prep.readers.discontinuities import (
    brainvision_breaks,
    brainvision_markers,
    persyst_breaks,
    text_of,
)
from labram_jax.data_prep.readers.edf_reader import open_edf
from labram_jax.data_prep.readers.gdf_header import read_gdf_header
from labram_jax.data_prep.readers.mat_file import check_mat
from labram_jax.data_prep.readers.mne_reader import Details, annotations_of
from labram_jax.data_prep.readers.units import UNITS
from labram_jax.errors import InputError

Opened = tuple[mne.io.BaseRaw, Details | None]


def opener_of(path: Path) -> Callable[[Path], Opened]:
    """Returns what opens a file or folder of this name."""
    suffix = path.suffix.lower()
    if path.name.lower().endswith(".fif.gz"):
        suffix = ".fif"
    return _OPENERS.get(suffix, lambda path: (mne.io.read_raw(path, preload=False), None))


def _open_fif(path: Path) -> Opened:
    first = _first_part(path)
    if first is not None:
        raise InputError(f"{path} is a later part of {first.name}: give that file, which opens the whole recording.")
    return mne.io.read_raw_fif(path, preload=False), None


def _first_part(path: Path) -> Path | None:
    """Returns the file that begins the recording of which this one is a later part, if it lies beside it."""
    names = (re.sub(r"-\d+(?=\.fif)", "", path.name), re.sub(r"split-0*[2-9]\d*|split-0*1\d+", _first_split, path.name))
    for name in names:
        first = path.with_name(name)
        if name != path.name and first.is_file():
            parts = mne.io.read_raw_fif(first, preload=False, on_split_missing="ignore").filenames
            if path.resolve() in [Path(part).resolve() for part in parts[1:]]:
                return first
    return None


def _first_split(found: re.Match) -> str:
    return f"split-{'1'.zfill(len(found[0]) - len('split-'))}"


def _open_brainvision(path: Path) -> Opened:
    raw = mne.io.read_raw_brainvision(path, preload=False)
    header = text_of(path)
    promised = re.search(r"^DataPoints=(\d+)", header, re.M | re.I)
    if promised and raw.n_times < int(promised[1]):
        raise InputError(
            f"{path} is truncated: it promises {promised[1]} samples, {Path(raw.filenames[0]).name} holds "
            f"{raw.n_times}; obtain the whole file."
        )
    section = re.search(r"^\[Channel Infos\]$(.*?)(?=^\[|\Z)", header, re.M | re.S | re.I)
    entries = re.findall(r"^Ch\d+=([^,\n]*)(?:,[^,\n]*){0,2}(,[^,\n]*)?", section[1] if section else "", re.M | re.I)
    named = {name.replace(r"\1", ",") for name, unit in entries if unit in ("", ",")}
    markers = brainvision_markers(path)
    # Read by themselves, since MNE drops them where the first segment has no date but a later one has.
    found = None if markers is None else mne.read_annotations(markers, sfreq=raw.info["sfreq"])
    return raw, Details(
        breaks=brainvision_breaks(path),
        annotations=None if found is None else annotations_of(found, 0.0),
        without_unit=dict.fromkeys(named, UNITS["uV"]),
        has_units=True,
    )


def _open_persyst(path: Path) -> Opened:
    raw = mne.io.read_raw_persyst(path, preload=False)
    return raw, Details(breaks=persyst_breaks(path, raw.info["sfreq"]))


def _open_gdf(path: Path) -> Opened:
    header = read_gdf_header(path)
    raw = mne.io.read_raw_gdf(path, preload=False)
    others, factors = {}, {}
    rows = zip(raw.ch_names, header.microvolts, header.taken, header.samples, strict=True)
    for index, (name, microvolts, taken, samples) in enumerate(rows):
        if samples != max(header.samples):
            others[name] = f"{name!r} has a lower rate than other signals of its file, which GDF is read without."
        elif microvolts is None and index not in header.unstated:
            others[name] = f"{name!r} has another unit than volts."
        elif microvolts is not None and microvolts != taken:
            factors[name] = microvolts / taken
    unstated = {raw.ch_names[index]: header.taken[index] for index in header.unstated}
    return raw, Details(others=others, without_unit=unstated, has_units=True, factors=factors)


def _open_cnt(path: Path) -> Opened:
    """ANT's files are RIFF files, Neuroscan's are not; MNE's own choice hides why the right reader failed."""
    with path.open("rb") as file:
        ant = file.read(4) in (b"RIFF", b"RF64")
    return (mne.io.read_raw_ant if ant else mne.io.read_raw_cnt)(path, preload=False), None


def _open_dat(path: Path) -> Opened:
    with path.open("rb") as file:
        bci2000 = file.read(9).startswith((b"BCI2000V", b"HeaderLen"))
    return (mne.io.read_raw_bci2k if bci2000 else mne.io.read_raw_curry)(path, preload=False), None


def _open_eeglab(path: Path) -> Opened:
    check_mat(path)
    return mne.io.read_raw_eeglab(path, preload=False), None


def _open_nicolet(path: Path) -> Opened:
    return mne.io.read_raw_nicolet(path, ch_type="eeg", preload=False), None


def _open_egi(path: Path) -> Opened:
    return mne.io.read_raw_egi(path, preload=False), None


_OPENERS: dict[str, Callable[[Path], Opened]] = {
    ".ahdr": _open_brainvision,
    ".bdf": open_edf,
    ".cnt": _open_cnt,
    ".dat": _open_dat,
    ".data": _open_nicolet,
    ".edf": open_edf,
    ".fif": _open_fif,
    ".gdf": _open_gdf,
    ".lay": _open_persyst,
    ".mff": _open_egi,
    ".raw": _open_egi,  # EGI's simple binary, whose suffix `mne.io.read_raw` does not know
    ".set": _open_eeglab,
    ".vhdr": _open_brainvision,
}
