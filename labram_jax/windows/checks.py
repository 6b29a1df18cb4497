"""What users say of an array of EEG, checked: its shape, its rate, its electrodes, which of them are bad."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from labram_jax.errors import InputError
from labram_jax.montage import ELECTRODES, electrode_ids, normalise, ordered

Bads = Sequence[str] | Bool[np.ndarray, "N C"] | None
Metadata = Mapping[str, Any] | pd.DataFrame | None


def checked(microvolts: Any, electrodes: Sequence[str], sfreq: float) -> tuple[np.ndarray, tuple[str, ...]]:
    """The array and the official names of its electrodes."""
    given = ordered(electrodes)
    eeg = np.asarray(microvolts)
    if isinstance(sfreq, bool) or not isinstance(sfreq, int | float | np.number) or not 0 < sfreq < np.inf:
        raise InputError(f"The EEG has a rate of {sfreq} Hz: give sfreq, the samples per second of an electrode.")
    if eeg.ndim != 3 or not np.issubdtype(eeg.dtype, np.floating):
        raise InputError(
            f"The EEG is {eeg.dtype} {eeg.shape}: give floats [windows, electrodes, samples] in microvolts."
        )
    if eeg.shape[1] != len(given):
        raise InputError(f"The EEG has {eeg.shape[1]} channels, but {len(given)} electrodes are named: name each.")
    if not len(eeg):
        raise InputError("The EEG has no windows: give at least one.")
    return eeg, tuple(ELECTRODES[row - 1] for row in electrode_ids(given))


def finite(eeg: np.ndarray, bad: Bool[np.ndarray, "N C"]) -> np.ndarray:
    """The EEG with zeros where electrodes are bad; InputError where it is not finite elsewhere."""
    if bad.any():
        eeg = np.where(bad[..., None], np.zeros((), eeg.dtype), eeg)
    if not np.isfinite(eeg).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(eeg))[0])
        raise InputError(
            f"The EEG is not finite at [window, electrode, sample] {where}: drop or repair such windows, or name the "
            "electrode in bads."
        )
    return eeg


def bad_electrodes(
    bads: Bads, given: tuple[str, ...], electrodes: tuple[str, ...], windows: int
) -> Bool[np.ndarray, "N C"]:
    """True where an electrode takes no part in a window; `bads` name electrodes as they were `given`, or officially."""
    if isinstance(bads, str):
        raise InputError(f"bads is one text, {bads!r}: give a list of names.")
    bad = np.zeros((windows, len(electrodes)), bool) if bads is None else np.asarray(bads)
    if bad.dtype == bool:
        if bad.shape != (windows, len(electrodes)):
            raise InputError(f"bads has the shape {bad.shape}: give booleans [N, C] = {(windows, len(electrodes))}.")
    else:
        places = {name: number for names in (electrodes, given) for number, name in enumerate(names)}
        bad = np.zeros((windows, len(electrodes)), bool)
        for name in bads:
            place = places.get(name, places.get(normalise(name)))
            if place is None:
                raise InputError(f"The bad electrode {name!r} is none of those given: leave it out of bads.")
            bad[:, place] = True
    if (nothing := np.flatnonzero(bad.all(axis=1))).size:
        raise InputError(f"Window {nothing[0]} has no good electrode: leave such windows out.")
    return bad


def table_of(metadata: Metadata, windows: int) -> pd.DataFrame:
    """A line for each window; a value that is not a list stands for all."""
    if metadata is None:
        return pd.DataFrame(index=range(windows))
    if isinstance(metadata, pd.DataFrame):
        table = metadata.reset_index(drop=True)
    else:
        table = pd.DataFrame({name: _column(value, windows) for name, value in metadata.items()})
    if len(table) != windows:
        raise InputError(f"The metadata has {len(table)} lines for {windows} windows: give one for each.")
    return table


def band_of(filters: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """High- and low-pass in Hz of a corpus' filters, where its description tells them."""
    if filters is None or not {"high_pass", "low_pass"} <= filters.keys():
        return None
    return float(filters["high_pass"] or 0), float(filters["low_pass"] or np.inf)


def _column(value: Any, windows: int) -> Any:
    single = isinstance(value, str) or not hasattr(value, "__len__")
    return [value] * windows if single else value
