"""A bad electrode takes part in nothing: losses, codes and their use are those of a corpus that never had it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus
from small_runs import finetuning_config, pretraining_config, small_tokenizer, tokenizer_config, window

from labram_jax.config import replace
from labram_jax.data import pipeline
from labram_jax.models import TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.tokenizer import TokenizerStage

ELECTRODES = ("FP1", "FP2", "C3", "C4", "O1", "O2")
BAD = ("FP1", "C4")  # the window's first one among them, from which the class token gets its place
SHAPE = {"batch_rows": 3, "patch_slots": 24, "segments": 2}
WINDOWS = 6


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """One with bad electrodes, full of artefacts, and the same without these electrodes."""
    good = [name not in BAD for name in ELECTRODES]
    eeg = np.concatenate([window(6, 2, (40 * (n % 2), 20), n) for n in range(WINDOWS)], axis=1)
    noisy = np.where(np.array(good)[:, None], eeg, 3000 * np.sign(eeg))
    spans = [(2.0 * n, 2.0 * n + 2, "train", n % 2) for n in range(WINDOWS)]
    folder = tmp_path_factory.mktemp("corpora")
    return [
        make_corpus(folder / "with", [MadeRecording("r", "s", ELECTRODES, noisy, spans, bads=BAD)], dtype="float32"),
        make_corpus(
            folder / "without",
            [MadeRecording("r", "s", [name for name in ELECTRODES if name not in BAD], eeg[good], spans)],
            dtype="float32",
        ),
    ]


@pytest.mark.parametrize("name", ["tokenizer", "pretraining", "finetuning"])
def test_training_with_a_bad_electrode_is_training_without_it(corpora, name):
    stage = _stage(name)
    batches = [
        pipeline.training([corpus.windows("train", 2)], masked=name == "pretraining", seed=1, **SHAPE)[4]
        for corpus in corpora
    ]
    np.testing.assert_array_equal(batches[0]["window_ids"], batches[1]["window_ids"])
    assert (batches[0]["window_ids"] >= 0).all()
    variables = dict(nn.unbox(jax.jit(stage.init)(jax.random.key(2))))
    params = variables.pop("params")

    @jax.jit
    def step(params, collections, frozen, batch):
        keys = jax.random.split(jax.random.key(0), len(batch["microvolts"]))
        _, found = stage.loss(params, collections, frozen, batch, keys, stage.denominators(batch), jnp.int32(9))
        return stage.apply_statistics(collections, found, jax.random.key(1), jnp.int32(9))

    found, expected = (step(params, variables, stage.frozen, batch) for batch in batches)
    assert found[1]["patches"] == WINDOWS * 4 * 2
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6), found, expected)


def _stage(name: str):
    segments = {"data.segments": SHAPE["segments"]}
    if name == "tokenizer":
        alive = {"codebook.bypass_epochs": 0.0, "codebook.restart_below": 0.0}
        return TokenizerStage(replace(tokenizer_config("", []), **segments, **alive), 10)
    if name == "finetuning":
        return FinetuningStage(replace(finetuning_config("", []), **segments), None)
    tokenizer = small_tokenizer()
    variables = nn.unbox(jax.jit(TokenizerModel(tokenizer).init)(jax.random.key(1), empty_batch()))
    config = replace(pretraining_config("", [], "tokenizer"), **segments)
    config = replace(config, model=replace(config.model, codes=tokenizer.quantizer.codes))
    return PretrainingStage(config, tokenizer, variables)
