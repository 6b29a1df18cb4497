"""Where windows begin in a recording, and how they are cut out of it. Positions are samples at 200 Hz."""

import math

import numpy as np
from jaxtyping import Float, Int64

from data_prep.plan import CorpusPlan, Span
from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.montage import MAX_SECONDS

# The published windows hold about this many patches (64 electrodes x 4 s, 32 x 8 s).
_USUAL_PATCHES = 256
# Seconds such as 0.1 * 3 must not lose a sample to floating-point rounding.
_ROUNDING = 1e-6


def default_seconds(electrodes: int) -> int:
    """Returns the window length in seconds that makes about 256 patches, between 1 and 16."""
    return min(max(_USUAL_PATCHES // electrodes, 1), MAX_SECONDS)


def span_starts(
    span: Span, length: int, window: int, stride: int, *, wrap: bool = False
) -> Int64[np.ndarray, "windows"]:
    """Returns the first samples of the windows of one span, `stride` apart, that lie in it as a whole.

    `length` is that of the recording. With `wrap` a span may reach beyond it at both ends.
    """
    begin = math.ceil(span.start_seconds * RATE_HZ - _ROUNDING)
    end = length if span.stop_seconds is None else math.floor(span.stop_seconds * RATE_HZ + _ROUNDING)
    if not wrap:
        begin, end = max(begin, 0), min(end, length)
    return np.arange(begin, end - window + 1, stride, dtype=np.int64)


def official_starts(
    length: int, window: int, stride: int, start_fraction: float = 0.0, end_fraction: float = 1.0
) -> Int64[np.ndarray, "windows"]:
    """Returns the first samples of the windows of a recording as the official pretraining loader counts them.

    Fractions are of the number of windows and truncate toward zero, so a recording with a single window gives it
    to both halves. A recording shorter than a window has none.
    """
    count = (length - window) // stride + 1
    if count < 1:
        return np.zeros(0, dtype=np.int64)
    first = int(count * start_fraction) * stride
    last = int(count * end_fraction - 1) * stride
    return np.arange(first, last + 1, stride, dtype=np.int64)


def starts(plan: CorpusPlan, span: Span, length: int, seconds: int) -> Int64[np.ndarray, "windows"]:
    """Returns the first samples of the windows that `plan` cuts from one span of a recording of `length` samples."""
    window = seconds * RATE_HZ
    stride = window if plan.stride_seconds is None else round(plan.stride_seconds * RATE_HZ)
    if stride < 1:
        raise InputError(f"stride_seconds = {plan.stride_seconds}: windows must be at least one sample apart.")
    if plan.align == "official":
        return official_starts(length, window, stride, *plan.official_range)
    return span_starts(span, length, window, stride, wrap=plan.wrap)


def cut(eeg: Float[np.ndarray, "C samples"], start: int, window: int) -> Float[np.ndarray, "C window"]:
    """Returns `window` samples from `start` on; beyond either end the signal continues from its other end."""
    if start >= 0 and start + window <= eeg.shape[1]:
        return eeg[:, start : start + window]
    return np.take(eeg, np.arange(start, start + window), axis=1, mode="wrap")
