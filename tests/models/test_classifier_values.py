"""The fine-tuning model gives the values of the official one, whose encoder it imports from pretraining."""

import numpy as np
import pytest
from golden_data import arrays, check, check_gradients, check_loss, windows

from labram_jax.models.encoder import drop_path_factors
from labram_jax.stages.finetuning import classification_loss

GOLDEN = "finetune"


def joined(tokens):
    """Class tokens before patch tokens, as the official arrays have them."""
    return np.concatenate(tokens, axis=1)


def smoothed_loss(model, batch, targets):
    return classification_loss(model(batch), targets, smoothing=0.1)


def labels(case: str):
    """Class indices [B, S]; the golden ones of the binary case are numbers, one for each output."""
    return arrays(GOLDEN)[f"{case}/targets"].reshape(-1, 1).astype(np.int32)


@pytest.fixture(scope="module")
def batches():
    return {name: windows(arrays(GOLDEN)[f"x/{name}"]) for name in ("main", "patches1", "patches16")}


@pytest.mark.parametrize("case", ["cls1", "cls6"])
@pytest.mark.parametrize("name", ["main", "patches1", "patches16"])
def test_logits(classifiers, batches, case, name):
    check(classifiers[case].run("__call__", batches[name])[:, 0], GOLDEN, f"{case}/{name}/logits")


@pytest.mark.parametrize("case", ["cls1", "cls6"])
def test_features(classifiers, batches, case):
    model, batch = classifiers[case], batches["main"]
    check(model.run("pooled", batch)[:, 0], GOLDEN, f"{case}/main/pooled_features")
    features = joined(model.run(lambda model, batch: [model.norm(tokens) for tokens in model.tokens(batch)], batch))
    check(features, GOLDEN, f"{case}/main/all_tokens")
    check(features[:, 1:], GOLDEN, f"{case}/main/patch_tokens")


def test_encoder_step_by_step(classifiers, batches):
    model, batch = classifiers["cls6"], batches["main"]
    embeddings = model.run(lambda model, batch: model.encoder.embed(batch), batch)
    check(embeddings, GOLDEN, "cls6/main/patch_embed")
    addressed = model.run(lambda model, x, batch: model.encoder.address(x, batch), embeddings, batch)
    check(addressed, GOLDEN, "cls6/main/tokens_in")
    check(joined(model.run(lambda model, batch: model.encoder(batch), batch)), GOLDEN, "cls6/main/block1")


@pytest.mark.parametrize("case", ["use_cls", "qkv_bias_true"])
def test_options_of_the_official_command_line(classifiers, batches, case):
    check(classifiers[case].run("__call__", batches["main"])[:, 0], GOLDEN, f"{case}/logits")


@pytest.mark.parametrize("case", ["cls1", "cls6"])
def test_gradients(classifiers, batches, case):
    golden = arrays(GOLDEN)
    loss, gradients = classifiers[case].gradients(smoothed_loss, batches["main"], labels(case))
    logits = golden[f"{case}/main/logits"][:, None]
    check_loss(loss, GOLDEN, f"{case}/loss_train_criterion")
    check_loss(classification_loss(logits, labels(case)), GOLDEN, f"{case}/loss_plain_ce")
    check_gradients(gradients, GOLDEN, f"{case}/grad/")
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()))
    np.testing.assert_allclose(norm, golden[f"{case}/grad_norm"], rtol=1e-5)
    rows = np.flatnonzero(np.abs(gradients["pos_embed"][0]).sum(axis=-1))
    np.testing.assert_array_equal(rows, golden[f"{case}/grad_pos_embed_rows_nonzero"])


@pytest.mark.parametrize("case", ["cls1", "cls6"])
def test_drop_path(classifiers, batches, case):
    """The first of two blocks has rate 0; the draws are those of the second block's attention and MLP."""
    draws = arrays(GOLDEN)[f"{case}/droppath0.5/uniform_draws_in_call_order"]
    uniforms = np.stack([np.full_like(draws, 0.25), draws])[..., None]
    factors = drop_path_factors(uniforms, 0.5)
    np.testing.assert_array_equal(factors[0], 1)
    np.testing.assert_array_equal(factors[1, ..., 0], np.where(draws >= 0.5, 2, 0))
    logits = classifiers[case].run("__call__", batches["main"], factors)[:, 0]
    check(logits, GOLDEN, f"{case}/droppath0.5/logits")


def test_drop_path_rates_rise_linearly_and_keep_the_mean():
    uniforms = np.random.default_rng(0).random((5, 2, 4000, 1), np.float32)
    factors = np.asarray(drop_path_factors(uniforms, 0.4))
    np.testing.assert_allclose((factors == 0).mean(axis=(1, 2, 3)), [0, 0.1, 0.2, 0.3, 0.4], atol=0.02)
    np.testing.assert_allclose(factors.mean(axis=(1, 2, 3)), 1, atol=0.05)
