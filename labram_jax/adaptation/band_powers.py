"""Log band powers of windows: what the field has long read labels off, beside which learnt features must stand."""

from collections.abc import Sequence, Sized

import numpy as np
from jaxtyping import Float
from scipy.signal import welch

from labram_jax.config import SAMPLE_RATE
from labram_jax.data.schema import NO_CLASS
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.progress import Progress

BANDS_HZ = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "low alpha": (8.0, 10.0),
    "high alpha": (10.0, 13.0),
    "low beta": (13.0, 20.0),
    "high beta": (20.0, 30.0),
    "low gamma": (30.0, 45.0),
}
# Below any recording's noise: it only keeps the logarithm of a flat electrode finite.
_FLOOR = 1e-6


def log_band_powers(eeg: Float[np.ndarray, "N C samples"], sfreq: float = SAMPLE_RATE) -> Float[np.ndarray, "N C 7"]:
    """Returns the natural logarithm of the power in seven bands from 1 to 45 Hz, in microvolts squared.

    `eeg` in microvolts. Welch's method with segments of 2 s (or the window, if shorter), half overlapping.
    """
    frequencies, density = welch(eeg.astype(np.float32), sfreq, nperseg=min(eeg.shape[-1], int(2 * sfreq)), axis=-1)
    step = frequencies[1] - frequencies[0]
    powers = [
        density[..., (frequencies >= low) & (frequencies < high)].sum(axis=-1) * step for low, high in BANDS_HZ.values()
    ]
    return np.log(np.stack(powers, axis=-1) + _FLOOR)


def shared_electrodes(windows: Sequence[SplitWindows]) -> tuple[str, ...]:
    """Returns the electrodes that every montage with windows has, in the order of the first."""
    montages = [montage.electrodes for own in windows for montage in own.montages]
    shared = tuple(name for name in montages[0] if all(name in montage for montage in montages)) if montages else ()
    if not shared:
        raise InputError("The corpora share no electrode, so one band-power baseline cannot be fitted to them.")
    return shared


def read_powers(
    windows: Sequence[SplitWindows], electrodes: tuple[str, ...], most: int | None = None
) -> tuple[Float[np.ndarray, "N C 7"], np.ndarray]:
    """Returns log band powers and labels of all windows, or of `most` evenly spread ones; bad electrodes are NaN."""
    total = sum(map(len, windows))
    share = 1.0 if most is None else min(1.0, most / max(total, 1))
    powers, labels = [], []
    split = ", ".join({own.split for own in windows})
    with Progress(f"Band powers ({split})", total=round(share * total)) as progress:
        for montage in (montage for own in windows for montage in own.montages):
            order = [montage.electrodes.index(electrode) for electrode in electrodes]
            for index in evenly_spread(montage, share):
                window = montage[index]
                progress.update()
                own = log_band_powers(window.eeg[None, order])[0]
                powers.append(np.where(window.bad[order, None], np.nan, own))
                labels.append(NO_CLASS if window.label is None else window.label)
    if not powers:
        raise InputError(f"There are no windows in the split {split!r} for the baseline: choose another split.")
    return np.stack(powers), np.asarray(labels)


def evenly_spread(source: Sized, share: float) -> list[int]:
    """Returns the indices of about `share` (0..1) of a source's windows, first and last among them."""
    count = max(1, round(share * len(source)))
    return np.unique(np.linspace(0, len(source) - 1, count).round().astype(int)).tolist()
