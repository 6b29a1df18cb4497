"""The tokenizer gives the values of the official one."""

import jax.numpy as jnp
import numpy as np
import pytest
from golden_data import (
    ABSOLUTE,
    arrays,
    check,
    check_gradients,
    check_loss,
    quick_jit,
    tiny_tokenizer,
    weights,
    windows,
)

from labram_jax.config import replace
from labram_jax.convert.official import from_official
from labram_jax.models import TokenizerModel
from labram_jax.models.quantizer import code_statistics, kmeans, unit
from labram_jax.stages.tokenizer import tokenizer_losses

GOLDEN = "tokenizer"


def total_loss(model, batch):
    return sum(tokenizer_losses(model(batch), batch).values())


def everything(model, batch):
    """Latents, output and losses in one compiled function."""
    output = model(batch)
    return model.latents(batch), output, tokenizer_losses(output, batch)


def joined(tokens):
    """Class tokens before patch tokens, as the official arrays have them."""
    return np.concatenate(tokens, axis=1)


def train_forward(variables, batch):
    """Codebook and usage after a step with one batch."""
    model = TokenizerModel(tiny_tokenizer())
    quantized = model.apply(variables, batch).quantized
    codes = len(variables["codebook"]["quantizer"]["usage"])
    statistics = code_statistics(quantized.latents, quantized.codes, quantized.weights, codes)
    _, moved = model.apply(variables, *statistics, method=TokenizerModel.move_codebook, mutable=["codebook"])
    return moved["codebook"]["quantizer"]


@pytest.fixture(scope="module")
def batches():
    names = ("main", "step1", "step2", "patches1", "patches16")
    return {name: windows(arrays(GOLDEN)[f"x/{name}"]) for name in names}


def test_encoder_step_by_step(tokenizer, batches):
    batch = batches["main"]
    embeddings = tokenizer.run(lambda model, batch: model.encoder.embed(batch), batch)
    addressed = tokenizer.run(lambda model, x, batch: model.encoder.address(x, batch), embeddings, batch)
    check(embeddings, GOLDEN, "main/encoder/patch_embed")
    check(addressed, GOLDEN, "main/encoder/tokens_in")
    check(joined(tokenizer.run(lambda model, batch: model.encoder(batch), batch)), GOLDEN, "main/encoder/block1")
    features = tokenizer.run(lambda model, batch: model.encoder_norm(model.encoder(batch)[1]), batch)
    check(features, GOLDEN, "main/encoder_features")


def test_first_block_alone(batches):
    config = replace(tiny_tokenizer(), **{"encoder.depth": 1})
    model = TokenizerModel(config).bind(from_official(weights("vqnsp"), config))
    check(joined(model.encoder(batches["main"])), GOLDEN, "main/encoder/block0")


def test_decoder_step_by_step(tokenizer, batches):
    batch = batches["main"]
    codes = arrays(GOLDEN)["main/quantized_tokens"]
    embeddings = tokenizer.run(lambda model, codes: model.decoder.project_codes(codes), codes)
    check(embeddings, GOLDEN, "main/decoder/patch_embed")
    addressed = tokenizer.run(lambda model, x, batch: model.decoder.address(x, batch), embeddings, batch)
    check(addressed, GOLDEN, "main/decoder/tokens_in")
    tokens = tokenizer.run(lambda model, x, batch: model.decoder.transform(x, batch), embeddings, batch)
    check(joined(tokens), GOLDEN, "main/decoder/block0")
    check(tokenizer.run(lambda model, x: model.decoder_norm(x), tokens[1]), GOLDEN, "main/decoder_features")


@pytest.mark.parametrize("name", ["main", "patches16"])
def test_output_and_losses(tokenizer, batches, name):
    latents, output, losses = tokenizer.run(everything, batches[name])
    check(latents, GOLDEN, f"{name}/to_quantizer_features")
    np.testing.assert_array_equal(output.quantized.codes, arrays(GOLDEN)[f"{name}/indices"].reshape(-1))
    check(output.amplitude, GOLDEN, f"{name}/rec_amplitude")
    check_loss(losses["commitment_loss"], GOLDEN, f"{name}/loss_quant")
    check_loss(losses["amplitude_loss"], GOLDEN, f"{name}/loss_rec_amplitude")
    check_loss(losses["phase_loss"], GOLDEN, f"{name}/loss_rec_angle")
    check_loss(sum(losses.values()), GOLDEN, f"{name}/loss_total")


def test_one_patch_of_which_the_official_decoder_makes_an_error(tokenizer, batches):
    latents, output, losses = tokenizer.run(everything, batches["patches1"])
    check(latents, GOLDEN, "patches1/to_quantizer_features")
    np.testing.assert_array_equal(output.quantized.codes, arrays(GOLDEN)["patches1/indices"].reshape(-1))
    check(output.quantized.vectors, GOLDEN, "patches1/quantized_tokens")
    check_loss(losses["commitment_loss"], GOLDEN, "patches1/loss_quant")
    assert all(np.isfinite(loss) for loss in losses.values())


def test_gradients(tokenizer, batches):
    total, gradients = tokenizer.gradients(total_loss, batches["main"])
    check_loss(total, GOLDEN, "train_step/train_total_loss")
    check_gradients(gradients, GOLDEN, "train_step/grad/")


def test_codebook_moves_as_the_official_one(tokenizer, batches):
    variables, forward = tokenizer.variables, quick_jit(train_forward)
    for number, name in enumerate(("main", "step1", "step2"), start=1):
        codebook = forward(variables, batches[name])
        variables = {**variables, "codebook": {"quantizer": codebook}}
        check(codebook["vectors"], GOLDEN, f"ema/after{number}/codebook")
        check(codebook["usage"], GOLDEN, f"ema/after{number}/cluster_size")


def test_official_usage_in_evaluation_follows_from_the_codes(tokenizer, batches):
    """The reference moves its usage statistic in evaluation too; here it stands still, and the codes tell the same."""
    _, output, _ = tokenizer.run(everything, batches["main"])
    counts = np.bincount(output.quantized.codes, minlength=64)
    usage = 0.99 * tokenizer.variables["codebook"]["quantizer"]["usage"] + 0.01 * counts
    np.testing.assert_allclose(usage, arrays(GOLDEN)["eval_update/quantize.cluster_size"], atol=ABSOLUTE)


def test_kmeans_start_in_the_first_forward_pass(tokenizer, batches):
    """Latents of the batch over and over as first means; then the same pass assigns and moves the codebook."""
    batch, golden = batches["main"], arrays(GOLDEN)
    latents = unit(tokenizer.run(everything, batch)[0].reshape(-1, 16))
    means = latents[np.arange(64) % len(latents)]
    vectors, counts = kmeans(latents, jnp.ones(len(latents)), means, iterations=10)
    np.testing.assert_array_equal(counts, golden["kmeans/module/init_cluster_size"])
    started = {**tokenizer.variables, "codebook": {"quantizer": {"vectors": vectors, "usage": jnp.zeros(64)}}}
    check_loss(sum(tokenizer.run(everything, batch, variables=started)[2].values()), GOLDEN, "kmeans/module/loss_total")
    codebook = quick_jit(train_forward)(started, batch)
    check(codebook["vectors"], GOLDEN, "kmeans/module/codebook_after_first_train_forward")
    check(codebook["usage"], GOLDEN, "kmeans/module/quantize.cluster_size")


def test_bypass_gives_the_decoder_the_latents_themselves(tokenizer, batches):
    batch = batches["main"]
    latents, through, _ = tokenizer.run(everything, batch)
    bypassed = tokenizer.run("__call__", batch, True)
    amplitude, *_ = tokenizer.run("decode", unit(latents), batch)
    np.testing.assert_allclose(bypassed.amplitude, amplitude, atol=ABSOLUTE)
    assert np.abs(bypassed.amplitude - through.amplitude).max() > 0.01
