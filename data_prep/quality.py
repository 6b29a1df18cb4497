"""Judges windows: what is wrong with each electrode, and whether the window can be used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from data_prep.plan import QualityLimits
from labram_jax.data.schema import RATE_HZ

# A brain seen through the scalp gives some 5 to 50 microvolts a second; what lies this far off is another unit.
_USUAL_MICROVOLTS = (0.3, 1000.0)


@dataclass(frozen=True)
class Damage:
    """Stretches that were unusable already before filtering, in seconds from the recording's start.

    `lost` [runs, 2]: not finite, or annotated as bad, whatever the electrode. `saturated`: for each electrode
    [runs, 2] where it stays at the recorder's end of scale.
    """

    lost: Float[np.ndarray, "runs 2"] = field(default_factory=lambda: np.zeros((0, 2)))
    saturated: tuple[Float[np.ndarray, "runs 2"], ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Whether a window is used: `reason` it is not, else None; `bad` counts its bad electrodes by kind."""

    reason: str | None
    bad: Counter[str]


def judge(
    window: Float[np.ndarray, "C samples"], start_seconds: float, damage: Damage, limits: QualityLimits
) -> Verdict:
    """Judges one window of filtered microvolts at 200 Hz that starts `start_seconds` into its recording.

    A window with a lost sample is dropped. An electrode is bad where it is flat, clipped or implausibly large;
    real recordings often have one or two such electrodes from start to end, so a window is dropped only when more
    than `limits.bad_electrodes` of its electrodes are bad. The kept ones are counted, not hidden.
    """
    stop_seconds = start_seconds + window.shape[1] / RATE_HZ
    if _overlap(damage.lost, start_seconds, stop_seconds) > 0 or not np.isfinite(window).all():
        return Verdict("lost samples", Counter())
    if limits.bad_electrodes is None:
        return Verdict(None, Counter())
    kinds = {
        "flat": window.std(axis=1) < limits.flat_microvolts,
        "implausible amplitude": np.abs(window).max(axis=1) > limits.peak_microvolts,
        "clipped": _clipped(damage.saturated, start_seconds, stop_seconds, limits.clipped_fraction, len(window)),
    }
    bad = Counter({kind: int(mask.sum()) for kind, mask in kinds.items() if mask.any()})
    share = np.logical_or.reduce(list(kinds.values())).mean()
    if share > limits.bad_electrodes:
        return Verdict(f"bad electrodes ({max(bad, key=lambda kind: bad[kind])})", bad)
    return Verdict(None, bad)


def saturated_runs(
    eeg: Float[np.ndarray, "C samples"], rate_hz: float, limits: QualityLimits
) -> tuple[Float[np.ndarray, "runs 2"], ...]:
    """Finds, for each electrode of the unfiltered recording, the runs that stay at its smallest or largest value.

    Filtering rounds the corners of a clipped signal off, so this cannot be seen afterwards.
    """
    if limits.bad_electrodes is None:
        return tuple(np.zeros((0, 2)) for _ in eeg)
    return tuple(_runs_at_extremes(signal, limits.clipped_samples) / rate_hz for signal in eeg)


def runs(mask: Bool[np.ndarray, "samples"]) -> np.ndarray:
    """Returns the [runs, 2] first and one-past-last indices of the stretches where `mask` is True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(np.int8)))
    return edges.reshape(-1, 2)


def suspicion(eeg: Float[np.ndarray, "C samples"], rate_hz: float) -> str | None:
    """Returns what is odd about the amplitude of unfiltered microvolts (volts taken for microvolts, ...), or None."""
    typical = typical_microvolts(eeg, rate_hz)
    if typical is None or _USUAL_MICROVOLTS[0] <= typical <= _USUAL_MICROVOLTS[1]:
        return None
    if typical == 0:
        return "the signal is flat on most electrodes."
    direction = "small" if typical < _USUAL_MICROVOLTS[0] else "large"
    return (
        f"typical amplitude {typical:.3g} microvolts is too {direction} for scalp EEG: "
        "the file's unit may be wrong (volts, millivolts and microvolts mixed up)."
    )


def typical_microvolts(eeg: Float[np.ndarray, "C samples"], rate_hz: float) -> float | None:
    """Returns the median, over electrodes and seconds, of the standard deviation within a second; None if too short.

    Taken within seconds, so that drifts and offsets of unfiltered recordings do not count.
    """
    patch = round(rate_hz)
    count = eeg.shape[1] // patch
    if len(eeg) == 0 or count == 0:
        return None
    patches = eeg[:, : count * patch].reshape(len(eeg), count, patch)
    return float(np.median(np.nan_to_num(patches.std(axis=2))))


def _runs_at_extremes(signal: np.ndarray, samples: int) -> np.ndarray:
    low, high = signal.min(), signal.max()
    if low == high:  # flat from start to end, which is another fault
        return np.zeros((0, 2))
    found = np.concatenate([runs(signal == low), runs(signal == high)])
    return found[found[:, 1] - found[:, 0] >= samples]


def _clipped(
    saturated: Sequence[np.ndarray], start: float, stop: float, fraction: float, electrodes: int
) -> Bool[np.ndarray, "C"]:
    if not saturated:
        return np.zeros(electrodes, dtype=bool)
    return np.array([_overlap(found, start, stop) > fraction * (stop - start) for found in saturated])


def _overlap(found: np.ndarray, start: float, stop: float) -> float:
    """Returns how many of the seconds from `start` to `stop` the runs cover."""
    if not len(found):
        return 0.0
    return float(np.clip(np.minimum(found[:, 1], stop) - np.maximum(found[:, 0], start), 0, None).sum())
