"""Whether numbers can be EEG in microvolts: told where they hardly can be, and refused where they cannot."""

import sys
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError

# Scalp EEG has a standard deviation of some 5 to 50 microvolts within a second; outside of these it is told.
_USUAL_MICROVOLTS = (1.5, 1000.0)
# An electrode of 2 kOhm at 37 degrees gives 0.05 microvolts of thermal noise up to 75 Hz, without any brain; and no
# amplifier for EEG takes in a tenth of a volt.
_POSSIBLE_MICROVOLTS = (0.05, 1e5)
# A mean so far from zero, and so much larger than what the signal does, is an offset of the electrode.
_OFFSET_MICROVOLTS, _OFFSET_RATIO = 100.0, 3.0
# What EEG may be in, and how many microvolts that is.
_UNITS = {"volts": 1e6, "millivolts": 1e3, "units of 100 microvolts": 1e2, "nanovolts": 1e-3}
_TYPICAL_MICROVOLTS = 20.0
# What of a recording the models were trained on.
_PASS_HZ = (0.1, 75.0)


def check_plausible(eeg: Float[np.ndarray, "N C samples"], good: Bool[np.ndarray, "N C"]) -> None:
    """Judges windows in microvolts at 200 Hz by their good electrodes.

    Raises InputError where the amplitude lies below thermal noise or above any amplifier; warns where it is unusual,
    and where electrodes have an offset. Flat electrodes say nothing.
    """
    seconds = eeg.shape[-1] // RATE_HZ
    within = eeg.reshape(*eeg.shape[:2], seconds, RATE_HZ).std(axis=-1, dtype=np.float64)[good]
    within = within[within > 0]
    if not within.size:
        return
    typical = float(np.median(within))
    unit = min(_UNITS, key=lambda name: abs(np.log(typical * _UNITS[name] / _TYPICAL_MICROVOLTS)))
    amplitude = f"typical amplitude within a second is {typical:.2g} microvolts"
    low, high = _POSSIBLE_MICROVOLTS
    if typical < low or typical > high:
        reason = "less than the thermal noise of an electrode" if typical < low else "more than an amplifier takes in"
        raise InputError(
            f"The EEG's {amplitude}, {reason}: it seems to be in {unit}, so give microvolts (times {_UNITS[unit]:g})."
        )
    low, high = _USUAL_MICROVOLTS
    if typical < low:
        tell(f"the EEG's {amplitude}, where scalp EEG has 5 to 50: it may be in {unit}, or standardised")
    elif typical > high:
        tell(f"the EEG's {amplitude}, where scalp EEG has 5 to 50: it may be in {unit}, or in an amplifier's counts")
    offset = float(np.median(np.abs(eeg.mean(axis=-1, dtype=np.float64))[good]))
    if offset > max(_OFFSET_MICROVOLTS, _OFFSET_RATIO * typical):
        tell(
            f"the EEG has an offset of {offset:.3g} microvolts, as before a high-pass filter: filter the recording "
            f"from {_PASS_HZ[0]} to {_PASS_HZ[1]:g} Hz before it is cut into windows"
        )


def check_filtered(pass_hz: tuple[float, float]) -> None:
    """Warns where a recording was not filtered as the models' training data, from its high- and low-pass in Hz."""
    missing = []
    if not pass_hz[0] > 0:
        missing.append("high-pass")
    if pass_hz[1] > RATE_HZ / 2:
        missing.append("low-pass")
    if missing:
        tell(
            f"the EEG was not {' and '.join(missing)} filtered (MNE's info says {pass_hz[0]:g} to {pass_hz[1]:g} Hz): "
            f"the models were trained on {_PASS_HZ[0]} to {_PASS_HZ[1]:g} Hz without mains, so call "
            f"raw.filter{_PASS_HZ} and raw.notch_filter(50) (or 60) before"
        )


def tell_unusable(unusable: Mapping[str, str]) -> None:
    """Warns of EEG channels {name: reason} that are left out."""
    if unusable:
        first = next(iter(unusable.values())).rstrip(".")
        tell(f"{len(unusable)} EEG channels are left out ({', '.join(list(unusable)[:8])}): {first}")


def tell(text: str) -> None:
    """Warns whoever called the package, wherever that is, so that each place is told once."""
    frame, level, package = sys._getframe(1), 2, __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)
