"""Readouts: what they see of packed windows and of missing electrodes, and that none changes what it should not."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import quick_jit, tiny_classifier, tiny_encoder, tiny_masked_model
from packed_rows import make_window, pack_rows

from labram_jax.config import ClassifierConfig, replace
from labram_jax.models import ClassifierModel, MaskedModel
from labram_jax.models.patches import empty_batch
from labram_jax.models.readout import electrode_means, log_amplitude

IDS = (3, 18, 22, 40, 90)


def eeg(seed: int, electrodes: int, seconds: int = 2, gain: float = 0.1) -> np.ndarray:
    return (gain * np.random.default_rng(seed).standard_normal((electrodes, 200 * seconds))).astype(np.float32)


def variables_of(model: nn.Module, batch, method=None) -> dict:
    """Every parameter drawn, so that none is at a start value that hides what it does; norms have scales around 1."""
    shapes = nn.unbox(jax.eval_shape(lambda: model.init(jax.random.key(0), batch, method=method)))
    random = np.random.default_rng(9)

    def drawn(path, leaf):
        name = path[-1].key
        return (name == "scale") + 0.2 * random.standard_normal(leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(drawn, shapes)


def model_of(pooling: str, heads: bool = False, **encoder) -> tuple[ClassifierModel, dict]:
    model = ClassifierModel(ClassifierConfig(tiny_encoder(**encoder), 3, pooling, amplitude=heads, filters=heads))
    return model, variables_of(model, empty_batch())


@pytest.mark.parametrize("pooling", ["mean", "electrodes", "attention"])
def test_packed_windows_read_out_as_alone(pooling):
    """With amplitudes in the heads and in the encoder; places without a window hold garbage, and spoil no gradient."""
    model, variables = model_of(pooling, heads=True, amplitude=True)
    windows = [make_window(eeg(1, 5), IDS), make_window(eeg(2, 3), IDS[:3])]

    def total(variables, batch):
        logits = model.apply(variables, batch)
        return jnp.where(batch.membership.max(axis=1)[..., None] > 0, logits, 0).sum(), logits

    both = quick_jit(jax.value_and_grad(total, has_aux=True))
    (_, alone), _ = both(variables, pack_rows([[windows[0]], [windows[1]]], 24, 3, garbage=1e4).batch)
    packed = pack_rows([[*windows], [windows[1], windows[0]]], 24, 3, gap=2)
    (_, logits), gradients = both(variables, packed.batch)
    for number, (row, _, segment) in zip((0, 1, 1, 0), packed.places, strict=True):
        np.testing.assert_allclose(logits[row, segment], alone[number, 0], atol=2e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((logits, gradients)))
    assert all(
        np.abs(leaf).max() > 0
        for name, part in gradients["params"].items()
        if name != "encoder"
        for leaf in jax.tree.leaves(part)
    )


def test_an_electrode_that_a_window_lacks_adds_nothing():
    """Its row of the heads matters to the windows that have it, and to no other."""
    model, variables = model_of("electrodes", heads=True)
    with_all, without = make_window(eeg(1, 5), IDS), make_window(eeg(1, 5)[:4], IDS[:4])

    def logits(window, params):
        return np.asarray(apply({"params": params}, pack_rows([[window]], 12, 1).batch)[0, 0])

    apply, params = quick_jit(model.apply), variables["params"]
    for name, part in (("head", "kernel"), ("head", "offset"), ("amplitude_head", "kernel"), ("filter_head", "kernel")):
        changed = params[name][part].copy()
        changed[IDS[4]] += 1
        other = {**params, name: {**params[name], part: changed}}
        np.testing.assert_array_equal(logits(without, other), logits(without, params))
        assert np.abs(logits(with_all, other) - logits(with_all, params)).min() > 1e-4


def test_a_query_of_zeros_is_the_plain_mean():
    attention, variables = model_of("attention")
    start = quick_jit(lambda: nn.unbox(attention.init(jax.random.key(0), empty_batch()))["params"]["query"])
    assert not start().any()
    params = {name: part for name, part in variables["params"].items() if name != "query"}
    batch = pack_rows([[make_window(eeg(1, 5), IDS), make_window(eeg(2, 3), IDS[:3])]], 20, 2).batch
    mean = model_of("mean")[0].apply({"params": params}, batch)
    queried = quick_jit(lambda query: attention.apply({"params": {**params, "query": query}}, batch))
    np.testing.assert_allclose(queried(jnp.zeros((5, 20))), mean, atol=1e-5)
    assert np.abs(queried(jnp.ones((5, 20))) - mean).max() > 1e-2


@pytest.mark.parametrize("kind", [ClassifierModel, MaskedModel])
def test_amplitude_of_the_encoder_starts_as_nothing_and_brings_the_gain_back(kind):
    """Bit for bit the same from weights that were trained without it, in fine-tuning as in pretraining."""
    config = {ClassifierModel: tiny_classifier(3), MaskedModel: tiny_masked_model()}[kind]
    plain, told = kind(config), kind(replace(config, **{"encoder.amplitude": True}))
    batch = pack_rows([[make_window(eeg(1, 5), IDS)]], 12, 1).batch
    fresh = nn.unbox(jax.eval_shape(lambda: told.init(jax.random.key(0), batch, method="tokens")))
    assert fresh["params"]["encoder"]["amplitude_embedding"].shape == (100,)
    params = variables_of(plain, batch, "tokens")["params"]

    def tokens(model, params, gain=1.0):
        own = batch.replace(patches=gain * batch.patches)
        return quick_jit(lambda p: model.apply({"params": p}, own, method="tokens")[1])(params)[0, :10]

    def with_map(values):
        return {**params, "encoder": {**params["encoder"], "amplitude_embedding": values}}

    expected = tokens(plain, params)
    np.testing.assert_array_equal(tokens(told, with_map(jnp.zeros(100))), expected)
    size = np.linalg.norm(expected)
    assert np.linalg.norm(tokens(plain, params, 2.0) - expected) < 1e-3 * size  # the norm hides the gain
    seeing = with_map(jax.random.normal(jax.random.key(2), (100,)))
    assert np.linalg.norm(tokens(told, seeing, 2.0) - tokens(told, seeing)) > 0.05 * size


def test_amplitudes_of_filters_are_those_of_what_they_give_before_a_norm():
    """The first layer's follow the gain; those behind a norm do not."""
    model, variables = model_of("mean", heads=True)
    batch = pack_rows([[make_window(eeg(1, 5), IDS)]], 10, 1).batch

    def filters(gain):
        own = batch.replace(patches=gain * batch.patches)
        return np.asarray(quick_jit(lambda v: model.apply(v, own, method="readout").filters)(variables))[
            0, 0, list(IDS)
        ]

    found = filters(1.0)
    first = variables["params"]["encoder"]["temporal_convolution"]["convolution_1"]
    padded = np.pad(np.asarray(batch.patches[0]), ((0, 0), (7, 7)))
    strided = np.lib.stride_tricks.sliding_window_view(padded, 15, axis=1)[:, ::8]
    expected = np.log((strided @ first["kernel"][:, 0]).std(axis=1) / 0.1).reshape(5, 2, 4).mean(axis=1)
    np.testing.assert_allclose(found[:, :4], expected, atol=1e-4)
    np.testing.assert_allclose((filters(2.0) - found)[:, :4], np.log(2), atol=1e-4)
    np.testing.assert_allclose(filters(2.0)[:, 4:], found[:, 4:], atol=0.02)
    assert found.shape == (5, 12) and found[:, 4:].std() > 0.05


def test_log_amplitude_is_of_each_patch_relative_to_ten_microvolts():
    window = make_window(np.stack([0.1 * np.ones(400), eeg(3, 1)[0], 10 * eeg(3, 1)[0]]).astype(np.float32), IDS[:3])
    amplitude = np.asarray(log_amplitude(window.patches[None]))[0].reshape(3, 2)
    expected = np.log(eeg(3, 1).reshape(2, 200).std(axis=1) / 0.1)
    np.testing.assert_allclose(amplitude[1], expected, atol=1e-5)
    np.testing.assert_allclose(amplitude[2] - amplitude[1], np.log(10), atol=1e-5)
    assert np.isfinite(amplitude[0]).all() and (amplitude[0] < -6).all()  # a constant one, however high it lies
    batch = pack_rows([[window]], 8, 2, gap=1).batch
    means, present = electrode_means(log_amplitude(batch.patches)[..., None], batch)
    np.testing.assert_allclose(means[0, 0, list(IDS[:3]), 0], amplitude.mean(axis=1), atol=1e-5)
    assert np.flatnonzero(present[0, 0]).tolist() == list(IDS[:3]) and not present[0, 1].any()
    assert not np.delete(means[0, 0, :, 0], IDS[:3]).any()
