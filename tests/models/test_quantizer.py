"""The codebook's mathematics: k-means against the official one, and properties of the rest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import ABSOLUTE, arrays

from labram_jax.models import quantizer
from labram_jax.models.quantizer import unit


def sphere(seed: int, count: int, dimension: int = 8):
    return unit(jax.random.normal(jax.random.key(seed), (count, dimension)))


@pytest.mark.parametrize("iterations", [1, 10])
def test_kmeans_with_many_samples(iterations):
    golden = arrays("tokenizer")
    samples = golden["kmeans/many/samples"]
    means, counts = quantizer.kmeans(samples, jnp.ones(len(samples)), samples[:64], iterations)
    np.testing.assert_allclose(means, golden[f"kmeans/many/means_iter{iterations}"], atol=ABSOLUTE)
    np.testing.assert_array_equal(counts, golden[f"kmeans/many/bins_iter{iterations}"])


@pytest.mark.parametrize("iterations", [1, 10])
def test_kmeans_with_fewer_samples_than_codes(iterations):
    """Equal means tie, so that counts compare only when summed over equal means."""
    golden = arrays("tokenizer")
    samples = golden["kmeans/few/samples"]
    first = samples[np.arange(64) % len(samples)]
    means, counts = quantizer.kmeans(samples, jnp.ones(len(samples)), first, iterations)
    np.testing.assert_allclose(means, golden[f"kmeans/few/means_iter{iterations}"], atol=ABSOLUTE)
    expected = golden[f"kmeans/few/bins_iter{iterations}"]
    np.testing.assert_array_equal(np.asarray(counts).reshape(2, 32).sum(0), expected.reshape(2, 32).sum(0))


def test_kmeans_leaves_padding_out():
    samples, means = sphere(0, 40), sphere(1, 5)
    weights = jnp.arange(40) < 30
    padded = quantizer.kmeans(samples, weights.astype(jnp.float32), means, 4)
    alone = quantizer.kmeans(samples[:30], jnp.ones(30), means, 4)
    np.testing.assert_allclose(padded[0], alone[0], atol=1e-6)
    np.testing.assert_array_equal(padded[1], alone[1])


@pytest.mark.parametrize("chunk", [1, 7, 16, 50, 64])
def test_nearest_code_in_chunks_is_nearest_code(chunk):
    latents, codebook = sphere(0, 33), sphere(1, 50)
    codebook = codebook.at[40].set(codebook[3])  # a tie: the first one counts, also across chunks
    latents = latents.at[0].set(codebook[3])
    whole = quantizer.nearest_code(latents, codebook, chunk=1000)
    np.testing.assert_array_equal(quantizer.nearest_code(latents, codebook, chunk), whole)
    distances = np.linalg.norm(np.asarray(latents)[:, None] - np.asarray(codebook)[None], axis=-1)
    np.testing.assert_array_equal(whole, distances.argmin(axis=1))
    assert whole[0] == 3


def test_gradient_passes_straight_through():
    latents, codes = sphere(0, 6), sphere(1, 6)
    gradient = jax.grad(lambda z: (quantizer.straight_through(z, codes) ** 3).sum())(latents)
    np.testing.assert_allclose(gradient, 3 * codes**2, atol=1e-6)
    np.testing.assert_allclose(quantizer.straight_through(latents, codes), codes, atol=1e-6)


def test_commitment_moves_latents_only_and_leaves_padding_out():
    latents, codes = sphere(0, 6), sphere(1, 6)
    weights = jnp.array([1.0, 1, 1, 1, 0, 0])
    loss, (on_latents, on_codes) = jax.value_and_grad(quantizer.commitment_loss, (0, 1))(latents, codes, weights)
    np.testing.assert_allclose(loss, ((codes - latents)[:4] ** 2).mean(), rtol=1e-6)
    assert np.abs(on_latents[:4]).max() > 0
    assert not np.any(on_latents[4:]) and not np.any(on_codes)


def test_unused_codes_keep_their_place():
    codebook = sphere(0, 5)
    latents, codes = sphere(1, 4), jnp.array([1, 1, 3, 3])
    counts, sums = quantizer.code_statistics(latents, codes, jnp.array([1.0, 1, 1, 0]), 5)
    np.testing.assert_array_equal(counts, [0, 2, 0, 1, 0])
    moved, usage = quantizer.moving_average(codebook, jnp.ones(5), counts, sums, 0.9)
    np.testing.assert_allclose(moved[jnp.array([0, 2, 4])], codebook[jnp.array([0, 2, 4])], atol=1e-6)
    np.testing.assert_allclose(moved[3], unit(0.9 * codebook[3] + 0.1 * latents[2]), atol=1e-6)
    np.testing.assert_allclose(usage, 0.9 + 0.1 * counts, rtol=1e-6)


def test_unit_of_zero_has_a_finite_gradient():
    gradient = jax.grad(lambda x: unit(x).sum())(jnp.zeros(4))
    assert np.isfinite(gradient).all()


def test_sampled_latents_are_distinct_until_they_run_out():
    latents = jnp.arange(10.0)[:, None]
    weights = (jnp.arange(10) % 2).astype(jnp.float32)
    drawn = np.asarray(quantizer.sample_latents(jax.random.key(0), latents, weights, 10))[:, 0]
    np.testing.assert_array_equal(np.sort(drawn[:5]), [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(drawn[5:], drawn[:5])
    other = np.asarray(quantizer.sample_latents(jax.random.key(1), latents, weights, 10))[:, 0]
    assert (drawn != other).any()


def test_only_unused_codes_restart():
    codebook, latents = sphere(0, 6), sphere(1, 20)
    usage = jnp.array([0.0, 2, 0.5, 1, 0, 3])
    moved, counts = quantizer.restart_unused(jax.random.key(0), codebook, usage, latents, jnp.ones(20), 0.6)
    restarted = np.array([0, 2, 4])
    kept = np.array([1, 3, 5])
    np.testing.assert_array_equal(moved[kept], codebook[kept])
    np.testing.assert_array_equal(counts[kept], usage[kept])
    np.testing.assert_allclose(counts[restarted], 1.2)
    nearest = np.abs(np.asarray(moved)[restarted][:, None] - np.asarray(latents)[None]).max(-1).min(-1)
    np.testing.assert_array_equal(nearest, 0)


def test_perplexity_is_the_number_of_evenly_used_codes():
    np.testing.assert_allclose(quantizer.perplexity(jnp.array([3.0, 3, 3, 0, 0])), 3, rtol=1e-6)
    assert quantizer.perplexity(jnp.zeros(4)) == 0
