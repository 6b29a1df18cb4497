"""The base models at full size, with weights that are regenerated from a recipe."""

import numpy as np
import pytest
from golden_data import arrays, check_loss, facts, largest_difference, quick_jit, recipe_weights, windows

from labram_jax.config import ClassifierConfig, MaskedModelConfig, TokenizerConfig
from labram_jax.convert.official import from_official
from labram_jax.models import ClassifierModel, MaskedModel, TokenizerModel
from labram_jax.stages.tokenizer import tokenizer_losses

GOLDEN = "fullsize_recipe"


def check(actual, key: str, stride: int = 1):
    expected = arrays(GOLDEN)[key + (f"@stride{stride}" if stride > 1 else "")]
    floor = facts(GOLDEN)["float32_vs_float64"].get(key, {"max_abs_diff": 0})["max_abs_diff"]
    difference = largest_difference(np.reshape(actual, -1)[::stride], expected.reshape(-1))
    assert difference <= max(5e-6, 5 * floor), f"{key} differs by {difference:.2g}"


def weights(config):
    """Regenerates weights, and checks them against the first values that the golden file tells of some of them."""
    tensors, told = recipe_weights(config, facts(GOLDEN)["salt"]), facts(GOLDEN)["recipe_check"]
    checked = 0
    for name, tensor in tensors.items():
        values = told.get(f"{name} {list(tensor.shape)}")
        if values is not None:
            np.testing.assert_allclose(tensor.reshape(-1)[:3], np.float32(values)[: tensor.size], rtol=1e-6, atol=1e-9)
            checked += 1
    assert checked >= 5
    return from_official(tensors, config)


@pytest.fixture(scope="module")
def short():
    golden = arrays(GOLDEN)
    return windows(golden["x"], golden["input_chans"][1:], mask=golden["labram_base/bool_masked_pos"])


@pytest.fixture(scope="module")
def tokenized(short):
    """What the tokenizer makes of the windows: encoder features, latents, output."""
    config = TokenizerConfig()

    def everything(model, batch):
        features = model.encoder_norm(model.encoder(batch)[1])
        return features, model.latent_head(features), model(batch)

    forward = quick_jit(lambda variables, batch: TokenizerModel(config).apply(variables, batch, method=everything))
    return forward(weights(config), short)


def test_tokenizer(tokenized, short):
    features, latents, output = tokenized
    check(features, "vqnsp_base/encoder_features", 3)
    check(latents, "vqnsp_base/to_quantizer_features")
    np.testing.assert_array_equal(output.quantized.codes, arrays(GOLDEN)["vqnsp_base/indices"].reshape(-1))
    check(output.amplitude, "vqnsp_base/rec_amplitude", 3)
    check(output.phase, "vqnsp_base/rec_angle", 3)
    losses = tokenizer_losses(output, short)
    check_loss(losses["commitment_loss"], GOLDEN, "vqnsp_base/quant_loss")
    check_loss(losses["amplitude_loss"], GOLDEN, "vqnsp_base/rec_loss")
    check_loss(losses["phase_loss"], GOLDEN, "vqnsp_base/rec_angle_loss")
    check_loss(sum(losses.values()), GOLDEN, "vqnsp_base/total_loss")


def test_masked_model(short):
    config = MaskedModelConfig()
    codes = arrays(GOLDEN)["vqnsp_base/indices"]

    def everything(model, batch, codes):
        return model.features(batch, batch.mask), model.logits(model.hidden(batch)), model(batch, codes)

    forward = quick_jit(lambda variables, *inputs: MaskedModel(config).apply(variables, *inputs, method=everything))
    features, logits, scores = forward(weights(config), short, codes)
    check(np.concatenate(features, axis=1), "labram_base/student_all_tokens", 3)
    mask, logits = np.asarray(short.mask), np.asarray(logits)
    check(logits[mask], "labram_base/logits_masked", 17)
    check(logits[~mask], "labram_base/logits_sym", 17)
    check_loss(np.asarray(scores.cross_entropy)[mask].mean(), GOLDEN, "labram_base/loss_rec")
    check_loss(np.asarray(scores.cross_entropy)[~mask].mean(), GOLDEN, "labram_base/loss_rec_sym")


@pytest.mark.parametrize("outputs", [1, 6])
def test_classifier(outputs):
    config, golden = ClassifierConfig(outputs=outputs), arrays(GOLDEN)
    batch = windows(golden["x_tuab"], golden["input_chans_tuab"][1:])
    model = ClassifierModel(config)
    forward = quick_jit(lambda variables, batch: model.apply(variables, batch, method=lambda m, b: (m.pooled(b), m(b))))
    pooled, logits = forward(weights(config), batch)
    check(pooled, "finetune_base/pooled_features")
    check(logits, f"finetune_base/nc{outputs}/logits")
