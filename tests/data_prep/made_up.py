"""Small made-up recordings for the tests of this room."""

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import mne
import numpy as np
from file_writers import Signal

from labram_jax.data_prep.readers.reader import ArrayReader, Reader

MONTAGE = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
TEN20 = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"),
)


def noise(channels: int, rate: float, seconds: float, seed: int = 0) -> np.ndarray:
    """Returns [channels, samples] microvolts: noise of 20 microvolts that has little above 30 Hz."""
    samples = round(rate * seconds)
    white = np.random.default_rng(seed).standard_normal((channels, samples))
    spectrum = np.fft.rfft(white)
    spectrum[:, np.fft.rfftfreq(samples, 1 / rate) > 30] *= 0.02
    shaped = np.fft.irfft(spectrum, samples)
    return 20 * shaped / shaped.std()


def reader_of(microvolts: np.ndarray, rate: float = 200.0, names: Sequence[str] = MONTAGE, **header) -> ArrayReader:
    """Returns a reader of an array; `header` are fields of its header that differ from a plain one."""
    reader = ArrayReader(microvolts, names, rate)
    reader.header = dataclasses.replace(reader.header, **header)
    return reader


def raw_of(
    microvolts: np.ndarray,
    rate: float,
    names: Sequence[str] = MONTAGE,
    annotations: Sequence[tuple[float, float, str]] = (),
) -> mne.io.RawArray:
    """Returns an MNE raw object of EEG channels; annotations are (onset, duration, description)."""
    raw = mne.io.RawArray(microvolts * 1e-6, mne.create_info(list(names), rate, "eeg"), verbose="ERROR")
    if annotations:
        raw.set_annotations(mne.Annotations(*zip(*annotations, strict=True)))
    return raw


def saved(raw: mne.io.BaseRaw, path: Path, fmt: str = "double", **options) -> Path:
    """Writes a raw object as the suffix says; `fmt` and `options` are those of a FIF file."""
    if path.suffix == ".fif":
        raw.save(path, fmt=fmt, overwrite=True, verbose="ERROR", **options)
    else:
        mne.export.export_raw(path, raw, verbose="ERROR")
    return path


def signals(records: int = 10, rate: int = 100, names: Sequence[str] = MONTAGE) -> list[Signal]:
    """Returns noise for an EDF file of records of 1 s."""
    return [Signal(name, np.round(row, 1)) for name, row in zip(names, noise(len(names), rate, records), strict=True)]


def write_arrays(path: Path, microvolts: np.ndarray, rate: float = 200.0, names: Sequence[str] = MONTAGE) -> Path:
    """Writes a recording that `open_arrays` opens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, microvolts=microvolts, rate=rate, names=list(names))
    return path


def open_arrays(path: Path, part: str, unit: str | None) -> Reader:
    """Opens what `write_arrays` wrote."""
    content = np.load(path)
    return ArrayReader(content["microvolts"], content["names"].tolist(), float(content["rate"]))


def open_and_tell(path: Path, part: str, unit: str | None) -> Reader:
    """Opens a recording and adds a line to a tale in the folder above: is jax loaded, and in which process."""
    with (path.parents[1] / "tale.txt").open("a") as tale:
        tale.write(f"{'with' if 'jax' in sys.modules else 'without'}-jax {os.getpid()}\n")
    return open_arrays(path, part, unit)
