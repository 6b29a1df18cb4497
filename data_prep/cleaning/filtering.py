"""The filters of the published protocol: band-pass, notch, 200 Hz, as MNE does them by default."""

import mne
import numpy as np
from jaxtyping import Float32, Float64

from labram_jax.data.schema import RATE_HZ
from labram_jax.data_prep.recipe import Filters

# MNE's default notch needs this many Hz of room beside the frequency that it takes out.
_NOTCH_ROOM_HZ = 1.5
# The length of MNE's default high-pass filter in periods of its frequency.
_HIGH_PASS_PERIODS = 3.3


def filter_and_resample(
    eeg: Float64[np.ndarray, "C samples"], rate_hz: float, filters: Filters
) -> Float32[np.ndarray, "C resampled"]:
    """Filters continuous microvolts at `rate_hz` and resamples them to 200 Hz, each electrode by itself.

    Band-pass (zero-phase FIR), notch, resampling, in the order of the published protocol. A step whose frequency the
    rate cannot carry is left out (`filter_notes`).
    """
    low_pass, notch, _ = possible_steps(rate_hz, filters)
    if filters.high_pass is not None or low_pass is not None:
        eeg = mne.filter.filter_data(eeg, rate_hz, filters.high_pass, low_pass, verbose="ERROR")
    if notch is not None:
        eeg = mne.filter.notch_filter(eeg, rate_hz, notch, verbose="ERROR")
    if rate_hz != RATE_HZ:
        eeg = mne.filter.resample(eeg, up=RATE_HZ, down=rate_hz, npad="auto", verbose="ERROR")
    return eeg.astype(np.float32)


def resampled(samples: int, rate_hz: float) -> int:
    """Returns how many samples `samples` at `rate_hz` become at 200 Hz, rounded as MNE does."""
    return round(RATE_HZ / rate_hz * samples)


def possible_steps(rate_hz: float, filters: Filters) -> tuple[float | None, float | None, list[str]]:
    """Returns the low-pass and notch frequencies that a recording at `rate_hz` can carry, and notes on the others."""
    nyquist = rate_hz / 2
    low_pass, notch, notes = filters.low_pass, filters.notch, []
    if low_pass is not None and low_pass >= nyquist:
        notes.append(f"no {low_pass:g} Hz low-pass: at {rate_hz:g} Hz there is nothing above {nyquist:g} Hz.")
        low_pass = None
    if notch is not None and notch + _NOTCH_ROOM_HZ > nyquist:
        notes.append(f"no {notch:g} Hz notch: at {rate_hz:g} Hz it would lie at the end of the spectrum.")
        notch = None
    return low_pass, notch, notes


def filter_notes(shortest: int, rate_hz: float, filters: Filters) -> list[str]:
    """Returns what is to be said of the filters for a recording whose shortest piece has `shortest` samples."""
    notes = possible_steps(rate_hz, filters)[2]
    if filters.high_pass is not None and shortest < _HIGH_PASS_PERIODS / filters.high_pass * rate_hz:
        notes.append(
            f"shorter than the {filters.high_pass:g} Hz high-pass filter "
            f"({_HIGH_PASS_PERIODS / filters.high_pass:.0f} s), which may distort slow waves."
        )
    return notes
