"""The codebook: when it starts, what it costs, how it is kept alive."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import CODES, tokenizer_config
from stage_steps import assert_equal_trees, batches_of, programs_of

from labram_jax.parallel.state import TrainState
from labram_jax.stages.tokenizer import TokenizerStage


@pytest.fixture(scope="module")
def kept_alive(corpus, trained_tokenizer):
    """A tokenizer's stage with 2 steps past the quantizer and a weight that rises over 4; state, batch, and loss.

    The state has learnt, but its codes are random. `loss(state, step)` gives the metrics, the codebook after the
    step, and the gradients.
    """
    config = tokenizer_config("", [corpus.path])
    codebook = dataclasses.replace(config.codebook, bypass_epochs=2, commitment_warmup_epochs=4, restart_below=0.2)
    stage = TokenizerStage(dataclasses.replace(config, codebook=codebook), steps_per_epoch=1)
    batch = batches_of(config, [corpus])[0]
    learnt = TrainState(np.int32(0), trained_tokenizer.variables["params"], {}, (), {}, {})
    state = with_codebook(learnt, random_codes(0), np.zeros(CODES, np.float32))

    @jax.jit
    def differentiated(params, collections, step):
        keys = jax.random.split(jax.random.key(step), len(batch["microvolts"]))
        gradients, statistics = jax.grad(stage.loss, has_aux=True)(
            params, collections, {}, batch, keys, stage.denominators(batch), step
        )
        return gradients, stage.apply_statistics(collections, statistics, keys[0], step)

    def loss(state, step: int):
        collections = jax.tree.map(np.asarray, state.collections)  # of one kind, for one compilation
        gradients, (collections, metrics) = differentiated(state.params, collections, np.int32(step))
        return metrics, collections["codebook"]["quantizer"], gradients

    return stage, state, batch, loss


def random_codes(seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((CODES, 8)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def with_codebook(state, vectors, usage):
    return state.replace(collections={"codebook": {"quantizer": {"vectors": vectors, "usage": usage}}})


def test_commitment_weight_is_none_past_the_quantizer_and_rises_then(kept_alive):
    _, state, _, loss = kept_alive
    weights = []
    for step in range(8):
        metrics, _, _ = loss(state, step)
        spectra = metrics["amplitude_loss"] + metrics["phase_loss"]
        weights.append(float((metrics["loss"] - spectra) / metrics["commitment_loss"]))
    np.testing.assert_allclose(weights, [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1], atol=1e-3)


def test_past_the_quantizer_the_decoder_sees_the_latents_and_teaches_the_encoder(kept_alive):
    _, state, _, loss = kept_alive
    other = with_codebook(state, random_codes(1), np.zeros(CODES, np.float32))
    for step, same in ((0, True), (1, True), (2, False)):
        one, another = loss(state, step)[0], loss(other, step)[0]
        assert bool(one["amplitude_loss"] == another["amplitude_loss"]) is same
        gradients = loss(state, step)[2]
        for part in ("encoder", "latent_head", "decoder"):
            assert float(sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(gradients[part]))) > 1e-3, part


def started(stage, state, batch) -> TrainState:
    """The state after the stage's one event, as its program makes it."""
    (step,) = stage.events()
    return programs_of(stage).before_step(step, state, batch)


def test_codebook_starts_by_kmeans_at_the_first_step_that_uses_it(kept_alive):
    stage, state, batch, loss = kept_alive
    assert list(stage.events()) == [2]
    start = started(stage, state, batch)
    assert start.params is state.params and start.opt_state is state.opt_state
    quantizer = start.collections["codebook"]["quantizer"]
    np.testing.assert_allclose(np.linalg.norm(quantizer["vectors"], axis=1), 1, atol=1e-6)
    # Every code has the same time to be hit before it is restarted; and the codes lie among the latents.
    np.testing.assert_allclose(quantizer["usage"], 0.4)
    assert loss(start, 2)[0]["commitment_loss"] < 0.5 * loss(state, 2)[0]["commitment_loss"]
    # The same state and batch give the same start, as when a run resumes right there.
    assert_equal_trees(started(stage, state, batch).collections, start.collections)


@pytest.mark.parametrize(("changes", "steps"), [({"bypass_epochs": 0.0}, [0]), ({"kmeans_start": False}, [])])
def test_codebook_starts_at_once_or_never_where_it_is_asked_to(kept_alive, changes, steps):
    config = kept_alive[0].config
    config = dataclasses.replace(config, codebook=dataclasses.replace(config.codebook, **changes))
    assert list(TokenizerStage(config, steps_per_epoch=1).events()) == steps


def test_codes_that_nobody_uses_move_onto_latents(kept_alive):
    stage, state, batch, loss = kept_alive
    latents = started(stage, state, batch).collections["codebook"]["quantizer"]["vectors"]
    # All codes are the same one, of which the first takes all latents.
    vectors = jnp.broadcast_to(latents[:1], latents.shape)
    usage = jnp.full(CODES, 1e-3)
    collapsed = with_codebook(state, vectors, usage)
    metrics, after, _ = loss(collapsed, 2)
    assert metrics["perplexity"] == pytest.approx(1) and metrics["codes_used"] == pytest.approx(1 / CODES)
    assert np.all(after["usage"] >= 0.2) and len(np.unique(after["vectors"], axis=0)) == CODES
    revived, _, _ = loss(with_codebook(state, after["vectors"], after["usage"]), 2)
    assert revived["codes_used"] > 0.5
    # Past the quantizer nothing is restarted.
    _, before, _ = loss(collapsed, 1)
    np.testing.assert_allclose(before["vectors"][1:], vectors[1:], atol=1e-6)


def test_collapse_is_said_with_what_to_do(kept_alive):
    stage, _, _, _ = kept_alive
    collapsed = {"perplexity": 0.05 * CODES - 0.1, "codes_used": 2 / CODES}
    warning = stage.warn_about(3, collapsed)
    assert "collapsing" in warning and "use 2 codes" in warning and "--codebook.bypass-epochs" in warning
    assert stage.warn_about(2, collapsed) is None  # the quantizer was not in use yet
    assert stage.warn_about(3, {"perplexity": 0.05 * CODES + 0.1, "codes_used": 0.5}) is None
    assert (stage.frozen, stage.selection) == ({}, ("loss", "min"))
