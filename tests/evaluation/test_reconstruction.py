"""A perfect reconstruction is exact in microvolts and phase; a wrong one is seen."""

import numpy as np
import pytest

from labram_jax.data.stream import patches
from labram_jax.evaluation.reconstruction import FREQUENCIES, compare_spectra
from labram_jax.models.patches import model_units
from labram_jax.models.spectrum import spectrum

ELECTRODES = ("FP1", "O1", "O2")


@pytest.fixture(scope="module")
def eeg():
    generator = np.random.default_rng(0)
    time = np.arange(400) / 200
    sine = 20 * np.sin(2 * np.pi * 10 * time)
    return (sine + generator.normal(scale=2, size=(5, 3, 400))).astype(np.float32)


def standardised(eeg):
    parts = (np.asarray(part).reshape(5, 3, 2, 200) for part in spectrum(model_units(patches(eeg))))
    axes = {"axis": (1, 2, 3), "keepdims": True}
    return [(part - part.mean(**axes)) / part.std(**axes, ddof=1) for part in parts]


def test_what_the_targets_say_comes_back_exactly(eeg):
    comparison = compare_spectra(eeg, *standardised(eeg), ELECTRODES)
    assert comparison.original.shape == (10, 3, len(FREQUENCIES))
    np.testing.assert_allclose(comparison.reconstructed, comparison.original, atol=1e-3)
    np.testing.assert_allclose(comparison.phase_agreement, 1, atol=1e-3)
    np.testing.assert_allclose(comparison.amplitude_correlation(), 1, atol=1e-4)
    alpha = comparison.original[:, :, list(FREQUENCIES).index(10)]
    np.testing.assert_allclose(alpha.mean(), 20, rtol=0.05)


def test_bad_electrodes_stand_for_nothing(eeg):
    """One window of five without the first electrode, and none with the last."""
    amplitude, phase = standardised(eeg)
    amplitude[2, 0], phase[2, 0], amplitude[:, 2], phase[:, 2] = (np.nan,) * 4
    comparison = compare_spectra(eeg, amplitude, phase, ELECTRODES)
    assert (
        np.isnan(comparison.original[4:6, 0]).all()
        and np.isfinite(np.delete(comparison.original, [4, 5], 0)[:, 0]).all()
    )
    assert np.isnan(comparison.phase_agreement[2]).all() and np.isfinite(comparison.phase_agreement[:2]).all()
    correlation = comparison.amplitude_correlation()
    assert np.isnan(correlation[2]).all()
    assert correlation[:2].min() > 0.9  # the window that lacks an electrode is on another scale


def test_predicting_the_mean_follows_nothing(eeg):
    nothing = np.zeros((5, 3, 2, 200), dtype=np.float32)
    comparison = compare_spectra(eeg, nothing, nothing, ELECTRODES)
    assert np.nanmax(np.abs(comparison.reconstructed - comparison.reconstructed[:, :, :1])) < 1e-4
    assert abs(comparison.phase_agreement.mean()) < 0.1
