"""How a model is computed changes what it computes by rounding alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import arrays, is_degenerate, windows
from scipy.special import erf

from labram_jax.config import ComputeConfig
from labram_jax.models.attention import TokenSegments, attend
from labram_jax.models.layers import gelu, product


def loss(model, batch, codes):
    return model(batch, codes).cross_entropy.mean()


@pytest.fixture(scope="module")
def inputs():
    golden = arrays("pretrain")
    return windows(golden["main/x"], mask=golden["main/bool_masked_pos"]), golden["main/labels_all"]


@pytest.fixture(scope="module")
def expected(masked_model, inputs):
    return masked_model.gradients(loss, *inputs)


def largest_relative_difference(gradients, expected) -> float:
    """Over all tensors but those whose gradient vanishes."""
    names = [name for name in expected if not is_degenerate(name)]
    return max(np.abs(gradients[n] - expected[n]).max() / np.abs(expected[n]).max() for n in names)


@pytest.mark.parametrize("options", [{"remat": "block"}, {"remat": "products"}, {"unroll": 2}], ids=str)
def test_recomputing_and_unrolling_change_nothing(load_masked_model, inputs, expected, options):
    value, gradients = load_masked_model(ComputeConfig(**options)).gradients(loss, *inputs)
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    assert largest_relative_difference(gradients, expected[1]) < 2e-5


def test_bfloat16_products_stay_close_and_leave_parameters_alone(load_masked_model, inputs, expected):
    value, gradients = load_masked_model(ComputeConfig(dtype="bfloat16")).gradients(loss, *inputs)
    assert value.dtype == np.float32 and all(g.dtype == np.float32 for g in gradients.values())
    np.testing.assert_allclose(value, expected[0], rtol=5e-3)
    assert value != expected[0]
    assert largest_relative_difference(gradients, expected[1]) < 0.3


def test_gelu_in_bfloat16_is_right_to_its_rounding():
    x = np.arange(-6, 6, 1 / 32, dtype=np.float32)  # each of them a bfloat16
    found = np.asarray(gelu(jnp.asarray(x, jnp.bfloat16)).astype(jnp.float32))
    exact = x * (1 + erf(x / 2**0.5)) / 2
    assert (np.abs(found - exact) <= 2**-8 * np.abs(exact) + 1e-6).all()


def test_scores_in_bfloat16_leave_their_product_unrounded():
    """Two keys whose scores of about 60 differ by an eighth, less than bfloat16 tells apart there."""
    q = jnp.ones((1, 3, 1, 4), jnp.bfloat16)
    k = jnp.asarray([[[15, 15, 15, 15.125]], [[15, 15, 15, 15]], [[-9, 0, 0, 0]]], jnp.bfloat16)[None]
    v = jnp.asarray([[[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]], jnp.bfloat16)[None]
    segments = TokenSegments(jnp.ones((1, 3), jnp.int32), 1)
    weights = np.asarray(attend(2 * q, k, v, segments, ComputeConfig(dtype="bfloat16")), np.float32)[0, 0, 0]
    np.testing.assert_allclose(weights[0] / weights[1], np.exp(0.125), rtol=2**-7)


def test_sums_of_products_in_bfloat16_stay_unrounded():
    """257 is no bfloat16: neither the sum over features nor that over tokens, the kernel's gradient, may be one."""
    x, kernel = jnp.ones((1, 257, 257)), jnp.ones((257, 1))
    sums, backward = jax.vjp(lambda x, kernel: product(x, kernel, ComputeConfig(dtype="bfloat16")), x, kernel)
    gradients = backward(jnp.ones_like(sums))
    np.testing.assert_array_equal(sums, np.full((1, 257, 1), 257, np.float32))
    np.testing.assert_array_equal(gradients[1], np.full((257, 1), 257, np.float32))


def test_float64_reaches_every_output(load_masked_model, inputs, expected):
    with jax.enable_x64(True):
        model = load_masked_model(ComputeConfig(dtype="float64"))
        model.variables = jax.tree.map(lambda x: x.astype("float64"), model.variables)
        batch, codes = inputs
        value, gradients = model.gradients(loss, batch.replace(patches=batch.patches.astype("float64")), codes)
    assert value.dtype == np.float64 and all(g.dtype == np.float64 for g in gradients.values())
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
