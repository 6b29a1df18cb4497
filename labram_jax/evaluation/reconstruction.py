"""How much of the spectra survives the codebook: original against reconstructed amplitude and phase."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from labram_jax.config import MICROVOLTS_PER_UNIT, PATCH_SAMPLES
from labram_jax.data.stream import patches
from labram_jax.models.patches import model_units
from labram_jax.models.spectrum import spectrum

HIGHEST_HZ = 75  # recordings are low-passed there, so that nothing above it is signal
FREQUENCIES = np.arange(1, HIGHEST_HZ + 1)  # one bin per Hz, since a patch lasts a second


@dataclass(frozen=True)
class SpectralComparison:
    """Spectra of the patches of one montage, at 1 to 75 Hz.

    `original` and `reconstructed`: amplitude in microvolts of each patch; `phase_agreement`: the cosine of the
    phase error averaged over patches (1: exact, 0: chance). NaN where the electrode is bad.
    """

    electrodes: tuple[str, ...]
    original: Float[np.ndarray, "patches C F"]
    reconstructed: Float[np.ndarray, "patches C F"]
    phase_agreement: Float[np.ndarray, "C F"]

    def amplitude_correlation(self) -> Float[np.ndarray, "C F"]:
        """Correlation over patches between original and reconstructed amplitude: does each follow the changes?"""
        original, reconstructed = (part - _mean(part, 0) for part in (self.original, self.reconstructed))
        scale = np.sqrt(np.nansum(original**2, axis=0) * np.nansum(reconstructed**2, axis=0))
        # Without any change in one of them there is nothing to follow.
        undefined = np.full(scale.shape, np.nan)
        return np.divide(np.nansum(original * reconstructed, axis=0), scale, out=undefined, where=scale > 0)


def compare_spectra(
    eeg: Float[np.ndarray, "N C samples"],
    amplitude: Float[np.ndarray, "N C A 200"],
    phase: Float[np.ndarray, "N C A 200"],
    electrodes: tuple[str, ...],
) -> SpectralComparison:
    """Puts a tokenizer's reconstruction beside what it saw.

    `eeg` in microvolts; `amplitude` and `phase` as predicted, standardised per window, NaN for bad electrodes. They
    are put back on their scale with the mean and the standard deviation of the window's own spectra, which the codes
    do not carry.
    """
    spectra = (np.asarray(part).reshape(amplitude.shape) for part in spectrum(model_units(patches(eeg))))
    true_amplitude, true_phase = (np.where(np.isnan(amplitude), np.nan, part) for part in spectra)
    bins = FREQUENCIES
    # A sine of amplitude a gives a * 200 / 2 in its bin.
    to_microvolts = MICROVOLTS_PER_UNIT * 2 / PATCH_SAMPLES
    error = _unstandardised(phase, true_phase)[..., bins] - true_phase[..., bins]
    return SpectralComparison(
        electrodes,
        _by_patch(true_amplitude[..., bins] * to_microvolts),
        _by_patch(_unstandardised(amplitude, true_amplitude)[..., bins] * to_microvolts),
        _mean(np.cos(error), (0, 2)),
    )


def _unstandardised(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    axes = (1, 2, 3)
    return predicted * np.nanstd(true, axis=axes, ddof=1, keepdims=True) + np.nanmean(true, axis=axes, keepdims=True)


def _mean(values: np.ndarray, axes: int | tuple[int, ...]) -> np.ndarray:
    """The mean of what is there; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(axis=axes)
    sums = np.where(known, values, 0).sum(axis=axes)
    return np.divide(sums, count, out=np.full(count.shape, np.nan), where=count > 0)


def _by_patch(values: Float[np.ndarray, "N C A F"]) -> Float[np.ndarray, "patches C F"]:
    return values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1], values.shape[3])
