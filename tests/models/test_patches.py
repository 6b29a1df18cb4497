"""What models are given: units of 100 microvolts, exactly those of the reference, and batches as they were read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from labram_jax.models import PatchBatch
from labram_jax.models.patches import model_units


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("x64", [False, True])
def test_units_are_rounded_as_the_reference_rounds_them(dtype, x64):
    """Bit for bit also when compiled, where XLA would rather multiply by a rounded hundredth."""
    microvolts = np.random.default_rng(0).normal(scale=30, size=(4, 64, 200)).astype(dtype)
    expected = microvolts.astype(np.float32) / np.float32(100)
    with jax.enable_x64(x64):
        np.testing.assert_array_equal(jax.jit(model_units)(microvolts), expected)
        np.testing.assert_array_equal(model_units(jnp.asarray(microvolts)), expected)


def test_a_batch_becomes_a_stream():
    slots = np.arange(6, dtype=np.int32).reshape(2, 3)
    batch = {
        "microvolts": np.full((2, 3, 200), 50, np.float16),
        **dict.fromkeys(("electrode_ids", "time_ids", "segment_ids"), slots),
        "labels": np.array([[0], [1]]),
    }
    stream = PatchBatch.of(batch, segments=5)
    assert stream.patches.dtype == jnp.float32 and (stream.patches == 0.5).all() and stream.segments == 5
    assert stream.mask is None and (stream.labels == batch["labels"]).all() and (stream.time_ids == slots).all()
    with jax.enable_x64(True):
        assert PatchBatch.of(batch, 5, "float64").patches.dtype == jnp.float64
        assert PatchBatch.of(batch, 5, "bfloat16").patches.dtype == jnp.float32
