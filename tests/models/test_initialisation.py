"""Fresh models: the official numbers of parameters, distributions and logical axes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import quick_jit, windows

from labram_jax.config import (
    ClassifierConfig,
    MaskedModelConfig,
    TokenizerConfig,
    base_encoder,
    huge_encoder,
    large_encoder,
    replace,
)
from labram_jax.models import ClassifierModel, MaskedModel, TokenizerModel
from labram_jax.parallel.sharding import RULES

# Parameters of the official models. Of the pretraining models' the reference counts two layers more that it never uses.
TRAINED = {
    "tokenizer": (TokenizerModel, TokenizerConfig(), 7_522_640),
    "tokenizer of large": (TokenizerModel, replace(TokenizerConfig(), **{"encoder.depth": 24}), 13_311_440),
    "base, 1 output": (ClassifierModel, ClassifierConfig(), 5_820_137),
    "base, 6 outputs": (ClassifierModel, ClassifierConfig(outputs=6), 5_821_142),
    "base with biases": (ClassifierModel, ClassifierConfig(base_encoder(qkv_bias=True), outputs=6), 5_825_942),
    "large": (ClassifierModel, ClassifierConfig(large_encoder()), 46_259_121),
    "huge": (ClassifierModel, ClassifierConfig(huge_encoder()), 369_236_513),
    "base, pretraining": (MaskedModel, MaskedModelConfig(), 9_153_520),
    "large, pretraining": (MaskedModel, MaskedModelConfig(large_encoder()), 52_989_504),
    "huge, pretraining": (MaskedModel, MaskedModelConfig(huge_encoder()), 383_000_896),
}
PRETRAINING_DEPTH = 4


def inputs(kind):
    batch = windows(jnp.zeros((1, 7, 200)), mask=jnp.ones((1, 7), bool))
    return (batch, jnp.zeros((1, 7), jnp.int32)) if kind is MaskedModel else (batch,)


def shapes(kind, config):
    return jax.eval_shape(lambda: kind(config).init(jax.random.key(0), *inputs(kind)))


def fresh(kind, config, *seeds: int):
    """Variables from each seed."""
    make = quick_jit(lambda key: nn.unbox(kind(config).init(key, *inputs(kind))))
    return [jax.tree.map(np.asarray, make(jax.random.key(seed))) for seed in seeds]


@pytest.mark.parametrize("name", TRAINED)
def test_number_of_parameters(name):
    kind, config, expected = TRAINED[name]
    counted = sum(leaf.size for leaf in jax.tree.leaves(nn.unbox(shapes(kind, config))["params"]))
    if kind is MaskedModel:
        width = config.encoder.width
        counted += width * config.codes + config.codes + width * width + width
    assert counted == expected


@pytest.mark.parametrize("name", ["tokenizer", "base with biases", "base, pretraining"])
def test_every_parameter_carries_logical_axes(name):
    kind, config, _ = TRAINED[name]
    known = {axis for axis, _ in RULES} | {None}
    leaves = jax.tree_util.tree_leaves_with_path(
        shapes(kind, config)["params"], is_leaf=lambda leaf: isinstance(leaf, nn.Partitioned)
    )
    assert len(leaves) > 20
    for path, leaf in leaves:
        assert isinstance(leaf, nn.Partitioned), f"{jax.tree_util.keystr(path)} has no logical axes"
        assert len(leaf.names) == leaf.value.ndim and set(leaf.names) <= known, f"{path}: {leaf.names}"
        assert ("blocks" in jax.tree_util.keystr(path)) == (leaf.names[0] == "layers")


@pytest.fixture(scope="module")
def tokenizer():
    config = replace(TokenizerConfig(), **{"encoder.depth": 4, "quantizer.codes": 512})
    return fresh(TokenizerModel, config, 0)[0]


@pytest.fixture(scope="module")
def masked_model():
    config = replace(MaskedModelConfig(), **{"encoder.depth": PRETRAINING_DEPTH, "codes": 512})
    return fresh(MaskedModel, config, 0)[0]["params"]


def assert_normal(values, deviation: float):
    assert abs(values.mean()) < 0.05 * deviation
    np.testing.assert_allclose(values.std(), deviation, rtol=0.05)
    assert np.abs(values).max() > 2 * deviation


def assert_cut_normal(values, deviation: float):
    """A normal distribution cut at one standard deviation, which leaves 0.54 of it."""
    assert np.abs(values).max() <= deviation * (1 + 1e-6)
    np.testing.assert_allclose(values.std(), 0.5396 * deviation, rtol=0.05)


def assert_uniform(values, bound: float, rtol: float = 0.1):
    assert np.abs(values).max() <= bound
    np.testing.assert_allclose(values.std(), bound / 3**0.5, rtol=rtol)


def test_matrices_and_embeddings_of_the_tokenizer(tokenizer):
    params = tokenizer["params"]
    blocks = params["encoder"]["blocks"]
    for layer in range(4):
        assert_normal(blocks["attention"]["qkv"]["kernel"][layer], 0.02)
        assert_normal(blocks["mlp"]["up"]["kernel"][layer], 0.02)
        shrunk = 0.02 / np.sqrt(2 * (layer + 1))
        assert_normal(blocks["attention"]["out"]["kernel"][layer], shrunk)
        assert_normal(blocks["mlp"]["down"]["kernel"][layer], shrunk)
    assert np.any(blocks["mlp"]["up"]["kernel"][0] != blocks["mlp"]["up"]["kernel"][1])
    for table in ("electrode_embedding", "time_embedding"):
        assert_normal(params["encoder"][table], 0.02)
        assert np.any(params["encoder"][table] != params["decoder"][table])
    for head in ("latent_head", "amplitude_head", "phase_head"):
        assert_normal(params[head]["hidden"]["kernel"], 0.02)
        assert_normal(params[head]["out"]["kernel"], 0.02)


def test_convolutions_of_the_tokenizer(tokenizer):
    convolutions = tokenizer["params"]["encoder"]["temporal_convolution"]
    for number, fan_in in ((1, 15), (2, 24), (3, 24)):
        assert_uniform(convolutions[f"convolution_{number}"]["kernel"], fan_in**-0.5)
        bias = convolutions[f"convolution_{number}"]["bias"]
        assert np.any(bias) and np.abs(bias).max() <= fan_in**-0.5
    projection = tokenizer["params"]["decoder"]["code_projection"]
    assert_uniform(projection["kernel"], 64**-0.5)
    assert_uniform(projection["bias"], 64**-0.5)


def test_norms_start_at_one_and_biases_at_zero(tokenizer, masked_model):
    for params in (tokenizer["params"], masked_model):
        counted = 0
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            drawn = "convolution_" in name or "code_projection" in name or "code_head" in name
            if name.endswith("/scale"):
                np.testing.assert_array_equal(leaf, 1, err_msg=name)
            elif name.endswith("bias") and ((params is masked_model and "convolution_" in name) or not drawn):
                np.testing.assert_array_equal(leaf, 0, err_msg=name)
                counted += 1
        assert counted > 10


def test_codebook_starts_on_the_unit_sphere(tokenizer):
    codebook = tokenizer["codebook"]["quantizer"]
    np.testing.assert_allclose(np.linalg.norm(codebook["vectors"], axis=-1), 1, rtol=1e-5)
    assert np.linalg.norm(codebook["vectors"].mean(axis=0)) < 0.2
    assert not np.any(codebook["usage"])


def test_pretraining_draws_everything_from_the_cut_normal(masked_model):
    encoder = masked_model["encoder"]
    blocks = encoder["blocks"]
    for layer in range(PRETRAINING_DEPTH):
        assert_cut_normal(blocks["attention"]["qkv"]["kernel"][layer], 0.02)
        shrunk = 0.02 / np.sqrt(2 * (layer + 1))
        assert_cut_normal(blocks["attention"]["out"]["kernel"][layer], shrunk)
        assert_cut_normal(blocks["mlp"]["down"]["kernel"][layer], shrunk)
    assert_cut_normal(encoder["electrode_embedding"], 0.02)
    assert_cut_normal(masked_model["code_head"]["kernel"], 0.02)
    assert_uniform(masked_model["code_head"]["bias"], 200**-0.5)
    for small in (masked_model["mask_token"], encoder["class_token"]):
        assert np.abs(small).max() <= 0.02 and np.any(small)
    for number in (1, 2, 3):
        convolution = encoder["temporal_convolution"][f"convolution_{number}"]["kernel"]
        assert np.abs(convolution).max() <= 0.02 and np.any(convolution)
    np.testing.assert_array_equal(blocks["scale_1"], np.float32(0.1))
    np.testing.assert_array_equal(blocks["scale_2"], np.float32(0.1))


@pytest.fixture(scope="module")
def classifiers():
    """From one seed twice, and from another."""
    variables = fresh(ClassifierModel, ClassifierConfig(base_encoder(depth=1), outputs=20), 0, 0, 1)
    return [v["params"] for v in variables]


def test_fresh_head_is_a_thousand_times_smaller(classifiers):
    assert_normal(classifiers[0]["head"]["kernel"], 0.02 * 0.001)
    assert not np.any(classifiers[0]["head"]["bias"])


def test_initialisation_follows_the_seed_alone(classifiers):
    first, same, other = classifiers
    jax.tree.map(np.testing.assert_array_equal, first, same)
    assert np.any(first["encoder"]["class_token"] != other["encoder"]["class_token"])
