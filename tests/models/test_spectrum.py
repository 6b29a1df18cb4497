"""Fourier targets: the official values, and the signs where they are delicate."""

import jax
import numpy as np
import pytest
from golden_data import arrays, check, windows

from labram_jax.models.spectrum import log_amplitude_targets, spectral_targets, spectrum


def test_official_spectrum_and_targets():
    batch = windows(arrays("tokenizer")["x/main"])
    amplitude, angle = jax.jit(spectrum)(batch.patches)
    check(amplitude, "tokenizer", "main/fft_abs_raw")
    check(angle, "tokenizer", "main/fft_angle_raw")
    amplitude, angle = jax.jit(spectral_targets)(batch.patches, batch.membership)
    check(amplitude, "tokenizer", "main/target_amplitude")
    check(angle, "tokenizer", "main/target_angle")


@pytest.mark.parametrize("bin_number", [0, 100])
def test_negative_direct_current_and_nyquist_have_angle_plus_pi(bin_number):
    """The imaginary part is exactly +0 there; a noisy one would make about half of the angles -pi."""
    patches = np.random.default_rng(0).normal(size=(1, 64, 200)).astype(np.float32)
    wave = np.cos(np.pi * bin_number * np.arange(200) / 100)
    _, angle = jax.jit(spectrum)(patches - 3 * wave.astype(np.float32))
    np.testing.assert_array_equal(angle[..., bin_number], np.float32(np.pi))
    _, angle = jax.jit(spectrum)(patches + 3 * wave.astype(np.float32))
    np.testing.assert_array_equal(angle[..., bin_number], 0)


def test_upper_half_mirrors_the_lower():
    patches = np.random.default_rng(0).normal(size=(2, 3, 200)).astype(np.float32)
    amplitude, angle = jax.jit(spectrum)(patches)
    np.testing.assert_array_equal(amplitude[..., 101:], amplitude[..., 99:0:-1])
    np.testing.assert_array_equal(angle[..., 101:], -angle[..., 99:0:-1])
    np.testing.assert_allclose(amplitude, np.abs(np.fft.fft(patches)), atol=2e-5)


def test_silent_window_has_targets_of_zero():
    """The reference would divide by zero there."""
    batch = windows(np.zeros((1, 7, 400), np.float32))
    amplitude, angle = jax.jit(spectral_targets)(batch.patches, batch.membership)
    assert not np.any(amplitude) and not np.any(angle)


def test_the_log_amplitude_of_a_fast_wave_is_seen_whatever_the_slow_ones_do():
    """Alpha that is twice as large in every second patch, far below a drift that no patch has twice."""
    time, random = np.arange(200) / 200, np.random.default_rng(0)
    eeg = random.normal(scale=0.01, size=(1, 1, 8, 200)) + 3 * random.normal(size=(1, 1, 8, 1)) * time
    eeg += 0.1 * np.tile([1, 2], 4)[:, None] * np.sin(2 * np.pi * 10 * time)
    batch = windows(eeg.reshape(1, 1, -1).astype(np.float32), np.array([1]))
    found = jax.jit(log_amplitude_targets)(batch.patches, batch.membership)[0]
    assert found.shape == (8, 100)
    np.testing.assert_allclose(found[:, 9], np.tile([-1, 1], 4), atol=0.1)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("microvolts", [0, 40])
def test_flat_patches_have_log_amplitudes_of_zero(microvolts):
    batch = windows(np.full((1, 7, 400), microvolts / 100, np.float32))
    assert not np.any(jax.jit(log_amplitude_targets)(batch.patches, batch.membership))
