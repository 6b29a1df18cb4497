"""Fourier targets of the tokenizer: amplitude and phase of every patch, standardised per segment."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from labram_jax.config import FREQUENCY_BINS, MICROVOLTS_PER_UNIT
from labram_jax.models.segments import patch_counts, segment_mean, segment_sum, spread

FLOOR_MICROVOLTS = 0.04  # the amplitude of a sine that is no more seen
SMALLEST_VARIANCE = 1e-6


def spectrum(patches: Float[Array, "B L T"]) -> tuple[Float[Array, "B L T"], Float[Array, "B L T"]]:
    """Amplitude and angle of the full discrete Fourier transform of real patches (equations 4 and 5 of the paper).

    A product with the Fourier matrix, which is exact where it matters: the imaginary parts at 0 Hz and at the
    Nyquist frequency are +0, so that their angle is 0 or +pi and never -pi; the upper half mirrors the lower.
    """
    samples = patches.shape[-1]
    half = samples // 2
    turns = np.outer(np.arange(samples), np.arange(half + 1)) % samples * (2 * np.pi / samples)
    dtype = jnp.promote_types(patches.dtype, jnp.float32)
    cosine, sine = jnp.asarray(np.cos(turns), dtype), jnp.asarray(np.sin(turns[:, 1:half]), dtype)
    real = jnp.einsum("blt,tf->blf", patches.astype(dtype), cosine, precision=Precision.HIGHEST)
    inner = -jnp.einsum("blt,tf->blf", patches.astype(dtype), sine, precision=Precision.HIGHEST)
    imaginary = jnp.pad(inner, ((0, 0), (0, 0), (1, 1)))
    amplitude, angle = jnp.sqrt(real**2 + imaginary**2), jnp.arctan2(imaginary, real)
    mirror = slice(half - 1, 0, -1)
    return (
        jnp.concatenate([amplitude, amplitude[..., mirror]], axis=-1),
        jnp.concatenate([angle, -angle[..., mirror]], axis=-1),
    )


def standardise(values: Float[Array, "B L T"], membership: Float[Array, "B L S"]) -> Float[Array, "B L T"]:
    """Zero mean and unit standard deviation (unbiased) over the patches and bins of each segment.

    The reference divides by 0 where a segment is constant and loses the run to NaN; here such a segment stays 0.
    """
    elements = patch_counts(membership) * values.shape[-1]
    mean = segment_sum(values.sum(axis=-1), membership) / elements
    centred = values - spread(mean, membership)[..., None]
    variance = segment_sum((centred**2).sum(axis=-1), membership) / (elements - 1)
    deviation = spread(jnp.where(variance > 0, jnp.sqrt(variance), 1), membership)[..., None]
    return jnp.where(deviation > 0, centred / jnp.where(deviation > 0, deviation, 1), 0)


def spectral_targets(
    patches: Float[Array, "B L T"], membership: Float[Array, "B L S"]
) -> tuple[Float[Array, "B L T"], Float[Array, "B L T"]]:
    """Standardised amplitude and angle, without gradient; padding is 0."""
    amplitude, angle = spectrum(jax.lax.stop_gradient(patches))
    return standardise(amplitude, membership), standardise(angle, membership)


def log_amplitude_targets(patches: Float[Array, "B L T"], membership: Float[Array, "B L S"]) -> Float[Array, "B L F"]:
    """Log amplitude at 1 to 100 Hz, each frequency standardised over the patches of its segment, without gradient.

    Patches are tapered (Hann) first, since what drifts from their first sample to the last is otherwise in all
    frequencies; the floor keeps flat patches finite. Padding, and a frequency that does not vary, is 0. Beyond the
    reference, which has amplitudes over all frequencies at once.
    """
    patches = jax.lax.stop_gradient(patches)
    taper = np.hanning(patches.shape[-1] + 1)[:-1].astype(np.float32)
    amplitude, _ = spectrum((patches - patches.mean(axis=-1, keepdims=True)) * taper)
    floor = FLOOR_MICROVOLTS / MICROVOLTS_PER_UNIT * taper.sum() / 2
    values = jnp.log(amplitude[..., 1 : FREQUENCY_BINS + 1] + floor)
    centred = values - spread(segment_mean(values, membership), membership)
    variance = spread(segment_mean(centred**2, membership), membership)
    varies = variance > SMALLEST_VARIANCE
    return jnp.where(varies, centred / jnp.sqrt(jnp.where(varies, variance, 1)), 0)
