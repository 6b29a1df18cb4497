"""From a recording to what the model is trained on: known electrodes, filtered, 200 Hz, float32 microvolts.

The whole recording is filtered before windows are cut: a 0.1 Hz high-pass looks half a minute around, so filtering
windows would distort each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mne
import numpy as np
from jaxtyping import Float, Float32

from data_prep.plan import Filters, QualityLimits
from data_prep.quality import Damage, runs, saturated_runs, suspicion
from data_prep.recording import channels, microvolts
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.montage import KnownElectrodes

# MNE's default notch needs this many Hz of room beside the frequency that it takes out.
_NOTCH_ROOM_HZ = 1.5
# The length of MNE's default high-pass filter in periods of its frequency.
_HIGH_PASS_PERIODS = 3.3
# Samples that are filtered at once: 128 MiB in float64.
_BLOCK_SAMPLES = 2**24


@dataclass(frozen=True)
class Signal:
    """A cleaned recording: `eeg` [C, samples] in microvolts at 200 Hz, its electrodes, and what was odd about it."""

    eeg: Float32[np.ndarray, "C samples"]
    electrodes: tuple[str, ...]
    damage: Damage
    notes: tuple[str, ...]


def clean(
    raw: mne.io.BaseRaw,
    electrodes: Sequence[str] | None = None,
    *,
    filters: Filters | None = Filters(),
    aliases: Mapping[str, str] | None = None,
    limits: QualityLimits = QualityLimits(),
) -> Signal:
    """Picks and renames electrodes, filters, and resamples a recording to 200 Hz.

    `electrodes` names the montage in the order wanted; None takes every known electrode in the recording's order.
    `filters` None takes the samples as they are. Raises InputError for a recording without a known electrode,
    without one that is asked for, with an amplitude that no EEG has, or (without filters) at another rate.
    """
    names = pick(channels(raw, aliases), electrodes)
    rate = float(raw.info["sfreq"])
    eeg = microvolts(raw, list(names.values()))
    finite = np.isfinite(eeg)
    # Zeros in place of NaN keep the filters from spreading it over minutes; windows that touch it are dropped.
    eeg[~finite] = 0.0
    odd = suspicion(eeg, rate)
    if odd and limits.bad_electrodes is not None:
        raise InputError(f"The recording's amplitude is implausible: {odd}")
    damage = Damage(
        lost=np.concatenate([runs(~finite.all(axis=0)) / rate, _marked_bad(raw)]),
        saturated=saturated_runs(eeg, rate, limits),
    )
    if filters is not None:
        eeg, notes = filter_and_resample(eeg, rate, filters)
    elif rate == RATE_HZ:
        eeg, notes = eeg.astype(np.float32), []
    else:
        raise InputError(
            f"The recording has {rate:g} Hz but is to be taken as it is: resample it to {RATE_HZ} Hz first."
        )
    return Signal(eeg, tuple(names), damage, tuple(notes))


def pick(known: KnownElectrodes, electrodes: Sequence[str] | None) -> dict[str, str]:
    """Returns {electrode: channel name} for the montage asked for, or for every known electrode of a recording."""
    found = {electrode: name for name, electrode in known.usable.items()}
    if electrodes is None:
        if not found:
            names = list(known.unusable)
            raise InputError(
                f"None of its {len(names)} channels ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) "
                "is a known electrode: rename them to 10-20 names."
            )
        return found
    missing = [electrode for electrode in electrodes if electrode not in found]
    if missing:
        raise InputError(f"It lacks {', '.join(missing)}, of the {len(electrodes)} electrodes asked for.")
    return {electrode: found[electrode] for electrode in electrodes}


def filter_and_resample(
    eeg: Float[np.ndarray, "C samples"], rate_hz: float, filters: Filters
) -> tuple[Float32[np.ndarray, "C resampled"], list[str]]:
    """Filters an array at `rate_hz` and resamples it to 200 Hz, as MNE does by default; returns notes as well.

    Band-pass (zero-phase FIR), notch, resampling, in the order of the published recipe. A step whose frequency the
    rate cannot carry is left out, which a note says.
    """
    low_pass, notch, notes = possible_steps(rate_hz, filters)
    if filters.high_pass is not None and eeg.shape[1] < _HIGH_PASS_PERIODS / filters.high_pass * rate_hz:
        notes.append(
            f"shorter than the {filters.high_pass:g} Hz high-pass filter "
            f"({_HIGH_PASS_PERIODS / filters.high_pass:.0f} s), which may distort slow waves."
        )
    # Blocks bound the memory that double precision takes; within one, MNE designs each filter once.
    size = max(_BLOCK_SAMPLES // max(eeg.shape[1], 1), 1)
    blocks = [eeg[start : start + size] for start in range(0, len(eeg), size)]
    return np.concatenate([_one_block(block, rate_hz, filters.high_pass, low_pass, notch) for block in blocks]), notes


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


def _one_block(
    eeg: Float[np.ndarray, "C samples"],
    rate_hz: float,
    high_pass: float | None,
    low_pass: float | None,
    notch: float | None,
) -> Float32[np.ndarray, "C resampled"]:
    eeg = np.asarray(eeg, dtype=np.float64)
    if high_pass is not None or low_pass is not None:
        eeg = mne.filter.filter_data(eeg, rate_hz, high_pass, low_pass, verbose="ERROR")
    if notch is not None:
        eeg = mne.filter.notch_filter(eeg, rate_hz, notch, verbose="ERROR")
    if rate_hz != RATE_HZ:
        eeg = mne.filter.resample(eeg, up=RATE_HZ, down=rate_hz, npad="auto", verbose="ERROR")
    return eeg.astype(np.float32)


def _marked_bad(raw: mne.io.BaseRaw) -> Float[np.ndarray, "runs 2"]:
    """Returns the stretches, in seconds, that annotations starting with BAD declare unusable (MNE's convention)."""
    bad = [annotation for annotation in raw.annotations if annotation["description"].upper().startswith("BAD")]
    onsets = np.array([annotation["onset"] for annotation in bad], dtype=np.float64) - raw.first_time
    durations = np.array([annotation["duration"] for annotation in bad], dtype=np.float64)
    return np.stack([onsets, onsets + durations], axis=1)
