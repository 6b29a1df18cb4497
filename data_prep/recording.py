"""Reads a recording in any format that MNE reads, and says what it holds."""

import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mne
import numpy as np
from jaxtyping import Float64

from data_prep.edf_header import check_edf
from data_prep.quality import suspicion
from labram_jax.errors import InputError
from labram_jax.montage import KnownElectrodes, known

# `mne.io.read_raw` knows formats by their suffix; EGI's simple binary has one that it leaves out.
_MORE_READERS = {".raw": mne.io.read_raw_egi}
# These hold the samples or the markers of a recording whose header is another file.
_COMPANIONS = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".fdt": ".set"}
_USUAL_SUFFIXES = (".edf", ".bdf", ".gdf", ".fif", ".set", ".vhdr", ".cnt", ".raw")
_FOLDER_FORMATS = (".mff", ".ds", ".mefd")
_INSPECTED_SECONDS = 60.0


def read(path: Path, group: str | None = None) -> mne.io.BaseRaw:
    """Returns the recording as an MNE raw object whose samples are still on disk.

    Raises InputError with the cause for a file that is missing, no EEG, damaged, or shorter than its header says.
    """
    if group is not None:
        raise InputError(f"{path} is one recording: it has no group {group!r}.")
    return _open(Path(path))[0]


def channels(raw: mne.io.BaseRaw, aliases: dict[str, str] | None = None) -> KnownElectrodes:
    """Splits the channels of a recording into electrodes of the vocabulary and the rest, with reasons.

    Channels that the file declares as something else (ECG, a trigger, ...) or marks as bad are left out.
    """
    reasons = {}
    for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True):
        if kind != "eeg":
            reasons[name] = f"{name!r} is declared as {kind}, not EEG."
        elif name in raw.info["bads"]:
            reasons[name] = f"{name!r} is marked as bad in the recording."
    found = known([name for name in raw.ch_names if name not in reasons], aliases)
    return KnownElectrodes(found.usable, {**found.unusable, **reasons})


def microvolts(
    raw: mne.io.BaseRaw, names: list[str], stop_seconds: float | None = None
) -> Float64[np.ndarray, "C samples"]:
    """Reads the samples of the named channels in microvolts at the recording's own rate.

    Raises InputError where the file breaks off or cannot be decoded.
    """
    stop = None if stop_seconds is None else min(round(stop_seconds * raw.info["sfreq"]), raw.n_times)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return raw.get_data(picks=names, stop=stop, verbose="ERROR") * 1e6
    except Exception as error:
        raise InputError(
            f"The samples of {_where(raw)} cannot be read ({_cause(error)}): the file may be damaged or truncated."
        ) from error


@dataclass(frozen=True)
class RecordingSummary:
    """What `inspect` found in a recording; `str` gives the text for a person."""

    path: Path
    format: str
    channel_count: int
    rate_hz: float
    seconds: float
    pass_hz: tuple[float, float]
    electrodes: dict[str, str]
    ignored: dict[str, str]
    annotations: dict[str, int]
    suspicion: str | None
    notes: tuple[str, ...]

    def __str__(self) -> str:
        low, high = self.pass_hz
        lines = [
            f"{self.path}: a recording ({self.format})",
            f"  {self.channel_count} channels, {self.rate_hz:g} Hz, {self.seconds:.1f} s; "
            f"the header says {low:g}-{high:g} Hz",
            f"  electrodes ({len(self.electrodes)}): {' '.join(self.electrodes.values()) or 'none known'}",
        ]
        if self.ignored:
            lines.append(f"  ignored ({len(self.ignored)}):")
            lines += [f"    {reason}" for reason in _shorten(list(self.ignored.values()))]
        if self.annotations:
            counts = [f"{text!r} x {count}" for text, count in self.annotations.items()]
            lines.append(f"  annotations: {', '.join(_shorten(counts))}")
        lines += [f"  note: {note}" for note in self.notes]
        if self.suspicion:
            lines.append(f"  SUSPICIOUS: {self.suspicion}")
        return "\n".join(lines)


def inspect(path: Path) -> RecordingSummary:
    """Reads the header and the first minute of a recording and tells what can be used of it."""
    raw, notes = _open(Path(path))
    found = channels(raw)
    eeg = microvolts(raw, list(found.usable), _INSPECTED_SECONDS) if found.usable else np.zeros((0, 0))
    return RecordingSummary(
        path=Path(path),
        format=type(raw).__name__.removeprefix("Raw"),
        channel_count=len(raw.ch_names),
        rate_hz=float(raw.info["sfreq"]),
        seconds=seconds(raw),
        pass_hz=(float(raw.info["highpass"]), float(raw.info["lowpass"])),
        electrodes=found.usable,
        ignored=found.unusable,
        annotations=dict(Counter(raw.annotations.description.tolist())),
        suspicion=suspicion(eeg, raw.info["sfreq"]),
        notes=notes,
    )


def seconds(raw: mne.io.BaseRaw) -> float:
    """Returns the length of a recording."""
    return raw.n_times / float(raw.info["sfreq"])


def _open(path: Path) -> tuple[mne.io.BaseRaw, tuple[str, ...]]:
    """Returns the raw object and what MNE warned of while it read the header."""
    _check_file(path)
    reader = _MORE_READERS.get(path.suffix.lower(), mne.io.read_raw)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            raw = reader(path, preload=False, verbose="ERROR")
    except Exception as error:  # MNE's readers raise whatever their parsing meets
        raise InputError(f"{path} cannot be read as EEG ({_cause(error)}){_hint(path)}.") from error
    if raw.n_times == 0:
        raise InputError(f"{path} holds no samples: check the file.")
    notes = dict.fromkeys(
        " ".join(str(entry.message).split()) for entry in caught if issubclass(entry.category, RuntimeWarning)
    )
    return raw, tuple(notes)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"There is no file {path}: check the path.")
    if path.is_dir() and path.suffix.lower() not in _FOLDER_FORMATS:
        raise InputError(f"{path} is a folder, not a recording: give one file, or prepare the folder as a corpus.")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is an empty file: obtain it again.")
    if path.suffix.lower() in (".edf", ".bdf"):
        check_edf(path)


def _hint(path: Path) -> str:
    header = path.with_suffix(_COMPANIONS.get(path.suffix.lower(), path.suffix))
    if header != path and header.exists():
        return f": give {header.name}, its header, instead"
    if path.suffix.lower() in _USUAL_SUFFIXES:
        return ": the file may be damaged or truncated, or something else under this name"
    return ": give a recording in a format that MNE reads (EDF, BDF, FIF, EEGLAB .set, BrainVision .vhdr, ...)"


def _where(raw: mne.io.BaseRaw) -> str:
    return str(raw.filenames[0]) if raw.filenames and raw.filenames[0] is not None else "the recording"


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _shorten(items: list[str], most: int = 12) -> list[str]:
    return items if len(items) <= most else [*items[: most - 1], f"... and {len(items) - most + 1} more"]
