"""Digests tell every change of an array, and nothing else, wherever the array is."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from labram_jax.checkpoints.digests import digests

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int32, np.int8, np.uint8, bool, np.uint32)
SHAPES = ((), (1,), (0, 3), (7,), (3, 5, 2), (2, 40_000))


def made(dtype, shape) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 100, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_devices_and_the_host_agree(dtype):
    arrays = {str(shape): made(dtype, shape) for shape in SHAPES}
    on_the_host, on_devices = digests({"x": arrays}), digests({"x": jax.tree.map(jnp.asarray, arrays)})
    assert on_the_host == on_devices and len(set(on_the_host.values())) == len(SHAPES)
    assert on_the_host["x/(7,)"].startswith(f"{np.dtype(dtype)}[7]:")


def test_any_changed_bit_shows():
    whole = made(np.float32, (3, 5, 2))
    before, seen = digests({"x": {"w": whole}}), set()
    for bit in range(8 * whole.nbytes):
        contents = bytearray(whole.tobytes())
        contents[bit // 8] ^= 1 << bit % 8
        changed = np.frombuffer(contents, whole.dtype).reshape(whole.shape)
        seen.add(digests({"x": {"w": changed}})["x/w"])
    assert len(seen) == 8 * whole.nbytes and before["x/w"] not in seen


@pytest.mark.parametrize(
    "change",
    [lambda x: x[::-1].copy(), lambda x: x.T.copy(), lambda x: x.reshape(-1), lambda x: np.roll(x, 1), lambda x: -x],
)
def test_order_and_shape_count(change):
    whole = made(np.float32, (6, 6))
    whole[0, 0] = 0.0  # of which the sign alone is changed by one of these
    assert digests({"x": {"w": change(whole)}}) != digests({"x": {"w": whole}})
