"""Judges signal: what is wrong with each second of each electrode, and which amplitudes no scalp gives."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from labram_jax.data.schema import QUALITY, RATE_HZ, QualityLimits
from labram_jax.data_prep.readers.reader import HIGHEST_RATE_HZ
from labram_jax.errors import InputError

# A brain seen through the scalp gives some 5 to 50 microvolts a second; what lies this far off is another unit.
_USUAL_MICROVOLTS = (0.3, 1000.0)
# No recording of fewer samples a second is EEG: half of them is the highest frequency that it holds.
LOWEST_RATE_HZ = 10.0


def check_rate(rate_hz: float) -> None:
    """Raises InputError for a rate that no EEG has."""
    if rate_hz < LOWEST_RATE_HZ:
        raise InputError(
            f"It has {rate_hz:g} samples a second, too few for EEG (at least {LOWEST_RATE_HZ:g}): the file's rate may "
            "be wrong, or it holds a trend."
        )
    if rate_hz > HIGHEST_RATE_HZ:
        raise InputError(
            f"It has {rate_hz:g} samples a second, too many for EEG (at most {HIGHEST_RATE_HZ:g}): the file's rate may "
            "be wrong."
        )


def suspicions(eeg: Float[np.ndarray, "C samples"], rate_hz: float, names: Sequence[str]) -> dict[str, str]:
    """Returns {electrode: what is odd about its amplitude} of unfiltered microvolts, one sentence each.

    Where most electrodes are odd, the one key is "", for the recording as a whole.
    """
    return odd_amplitudes(typical_microvolts(second_deviations(eeg, rate_hz)), names)


def odd_amplitudes(typical: Float64[np.ndarray, "C"], names: Sequence[str]) -> dict[str, str]:
    """Returns what `suspicions` does, from the typical amplitude of each electrode."""
    low, high = _USUAL_MICROVOLTS
    odd = (typical < low) | (typical > high)  # False where too little is known to judge
    if 2 * odd.sum() > len(odd):
        return {"": _sentence("The amplitude is implausible: most electrodes are", float(np.median(typical[odd])))}
    return {names[row]: _sentence(f"{names[row]} is", float(typical[row])) for row in np.flatnonzero(odd)}


def implausibly_small(typical: Float64[np.ndarray, "C"]) -> Bool[np.ndarray, "C"]:
    """Returns which electrodes have a signal, but one too small for scalp EEG: another unit, or no contact."""
    return (typical > 0) & (typical < _USUAL_MICROVOLTS[0])


def second_deviations(eeg: Float[np.ndarray, "C samples"], rate_hz: float) -> Float64[np.ndarray, "C seconds"]:
    """Returns the standard deviation within each whole second, NaN for a second with a sample that is not finite."""
    second = max(round(rate_hz), 1)
    count = eeg.shape[1] // second
    with np.errstate(invalid="ignore", over="ignore"):
        found = [signal[: count * second].reshape(count, second).std(axis=1, dtype=np.float64) for signal in eeg]
    deviations = np.array(found).reshape(len(eeg), count)
    return np.where(np.isfinite(deviations), deviations, np.nan)


def typical_microvolts(deviations: Float64[np.ndarray, "C seconds"]) -> Float64[np.ndarray, "C"]:
    """Returns the median of each electrode's deviations within seconds, NaN where there is none.

    Taken within seconds, so that drifts and offsets of unfiltered recordings do not count.
    """
    known = [row[~np.isnan(row)] for row in deviations]
    return np.array([np.median(row) if len(row) else np.nan for row in known], dtype=np.float64)


def runs(mask: Bool[np.ndarray, "samples"]) -> Int64[np.ndarray, "runs 2"]:
    """Returns the first and one-past-last indices of the stretches where `mask` is True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges.reshape(-1, 2)


def clipped_seconds(
    signal: Float64[np.ndarray, "samples"],
    extremes: tuple[float, float],
    rate_hz: float,
    seconds: int,
    limits: QualityLimits,
) -> Bool[np.ndarray, "seconds"]:
    """Returns in which of its first `seconds` seconds an unfiltered electrode stays at its recording's extremes.

    Filtering rounds the corners of a clipped signal off, so this cannot be seen afterwards. A signal that is flat
    from start to end is not clipped.
    """
    held = np.zeros(len(signal), dtype=bool)
    for level in extremes if extremes[0] < extremes[1] else ():
        found = runs(signal == level)
        held |= _inside(found[found[:, 1] - found[:, 0] >= limits.clipped_samples], len(signal))
    return samples_in_seconds(held, rate_hz, seconds) > limits.clipped_fraction * rate_hz


def samples_in_seconds(mask: Bool[np.ndarray, "samples"], rate_hz: float, seconds: int) -> Int64[np.ndarray, "seconds"]:
    """Returns how many of the samples where `mask` is True each of the first `seconds` seconds holds."""
    numbers = (np.flatnonzero(mask) / rate_hz).astype(np.int64)
    return np.bincount(np.minimum(numbers, seconds - 1), minlength=seconds)


def filtered_deviations(signal: Float32[np.ndarray, "samples"]) -> Float32[np.ndarray, "seconds"]:
    """Returns the standard deviation of each second of an electrode at 200 Hz that has at least one.

    A last second that is not whole takes that of the last 200 samples: three samples alone always look flat.
    """
    whole = len(signal) // RATE_HZ
    deviations = signal[: whole * RATE_HZ].reshape(whole, RATE_HZ).std(axis=1)
    return deviations if len(signal) % RATE_HZ == 0 else np.append(deviations, signal[-RATE_HZ:].std())


def judge_seconds(
    signal: Float32[np.ndarray, "samples"], deviations: Float32[np.ndarray, "seconds"], limits: QualityLimits
) -> UInt8[np.ndarray, "seconds"]:
    """Flags every second of a filtered electrode at 200 Hz that is flat or implausibly large (`schema.QUALITY`)."""
    peaks = np.maximum.reduceat(np.abs(signal), np.arange(0, len(signal), RATE_HZ))
    flat, large = deviations < limits.flat_microvolts, peaks > limits.peak_microvolts
    return (flat * QUALITY["flat"] + large * QUALITY["implausible amplitude"]).astype(np.uint8)


def outliers(
    deviations: Float32[np.ndarray, "seconds C"], quality: UInt8[np.ndarray, "seconds C"], limits: QualityLimits
) -> Bool[np.ndarray, "seconds C"]:
    """Returns where an electrode is far larger than most others in the same second: it is loose, and no EEG.

    Electrodes that are flat, lost or marked bad do not count. What all share, such as a seizure, is no outlier.
    """
    counted = (quality & (QUALITY["flat"] | QUALITY["lost"] | QUALITY["marked bad"])) == 0
    usual = np.zeros((len(deviations), 1))
    some = counted.any(axis=1)
    usual[some, 0] = np.nanmedian(np.where(counted[some], deviations[some], np.nan), axis=1)
    return counted & (deviations > limits.outlier_microvolts) & (deviations > limits.outlier_ratio * usual)


def _inside(stretches: Int64[np.ndarray, "runs 2"], samples: int) -> Bool[np.ndarray, "samples"]:
    edges = np.zeros(samples + 1, dtype=np.int8)
    edges[stretches[:, 0]] = 1
    edges[stretches[:, 1]] = -1
    return np.cumsum(edges[:-1], dtype=np.int8) > 0


def _sentence(who: str, typical: float) -> str:
    if typical == 0:
        return f"{who} flat."
    size = "small" if typical < _USUAL_MICROVOLTS[0] else "large"
    return (
        f"{who} too {size} for scalp EEG, with a typical amplitude of {typical:.3g} microvolts: the file's unit may be "
        "wrong (volts, millivolts and microvolts mixed up) or missing (--unit gives it)."
    )
