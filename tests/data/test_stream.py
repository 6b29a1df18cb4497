import numpy as np
import pytest

from labram_jax.data.stream import addresses, patches
from labram_jax.errors import InputError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_patches_are_seconds_electrode_by_electrode(dtype):
    eeg = np.random.default_rng(0).normal(scale=50, size=(4, 3, 400)).astype(dtype)
    result = patches(eeg)
    assert result.shape == (4, 6, 200) and result.dtype == dtype
    np.testing.assert_array_equal(result[1, 2 * 2 + 1], eeg[1, 2, 200:])


def test_addresses_follow_the_order_of_the_patches():
    where = addresses(["CZ", "FP1"], 3)
    np.testing.assert_array_equal(where.electrode_ids, [42, 42, 42, 1, 1, 1])
    np.testing.assert_array_equal(where.time_ids, [0, 1, 2, 0, 1, 2])


def test_addresses_of_some_electrodes_are_those_that_they_have_among_all():
    where = addresses(["CZ", "FP1", "OZ"], 2).of(np.array([True, False, True]))
    np.testing.assert_array_equal(where.electrode_ids, addresses(["CZ", "OZ"], 2).electrode_ids)
    np.testing.assert_array_equal(where.time_ids, [0, 1, 0, 1])


@pytest.mark.parametrize("seconds", [0, 17])
def test_windows_outside_the_time_embedding_are_refused(seconds):
    with pytest.raises(InputError, match="1 to 16"):
        addresses(["CZ"], seconds)


@pytest.mark.parametrize("samples", [0, 199, 401])
def test_parts_of_seconds_are_refused(samples):
    with pytest.raises(InputError, match=f"{samples} samples"):
        patches(np.zeros((1, samples), np.float32))
