"""Training a part of a classifier: what moves and what stays, and low-rank updates as plain weights."""

import jax
import numpy as np
import pytest
from scipy.special import expit
from sentences import refuses
from small_runs import finetuning_config

from labram_jax.checkpoints.models import load_model
from labram_jax.config import ClassifierConfig
from labram_jax.inference import load
from labram_jax.metrics import binary
from labram_jax.models import lora
from labram_jax.parallel.sharding import make_mesh
from labram_jax.runs import make_stage, train
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import prepare
from labram_jax.weights import convert, read_model

FEW = {"loop.epochs": 0.3, "optimizer.weight_decay": 0.5, "optimizer.ema_decay": 0.9}


def leaves(tree) -> dict[str, np.ndarray]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in found}


def test_the_last_blocks_move_and_those_before_stay(corpus, pretraining_run, tmp_path):
    """Neither weight decay reaches them nor the rounding of averages."""
    config = finetuning_config(tmp_path, [corpus.path], pretraining_run, trainable="blocks", last_blocks=1, **FEW)
    train(config)
    before = leaves(load_model(pretraining_run)[0]["params"]["encoder"])
    after = leaves(load_model(tmp_path)[0]["params"]["encoder"])
    for name, leaf in after.items():
        if name.startswith("blocks/"):
            np.testing.assert_array_equal(leaf[0], before[name][0], err_msg=name)
            assert not np.array_equal(leaf[1], before[name][1]), name
        else:
            np.testing.assert_array_equal(leaf, before[name], err_msg=name)
    with refuses("last_blocks is 3, but the encoder has 2 blocks"):
        FinetuningStage(finetuning_config("", [], trainable="blocks", last_blocks=3), None)


@pytest.fixture(scope="module")
def lora_run(corpus, pretraining_run, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "lora"
    config = finetuning_config(run, [corpus.path], pretraining_run, trainable="lora", lora_rank=3, **FEW)
    train(config)
    return run, config


def test_low_rank_updates_start_as_nothing_and_leave_the_matrices_as_they_were(lora_run, pretraining_run, corpus):
    run, config = lora_run
    stage = make_stage(config, [corpus], 1)
    state = prepare(stage, make_mesh(config.mesh), 1, 1).create_state()
    pretrained = load_model(pretraining_run)[0]["params"]["encoder"]
    start = lora.merged(state.params, config.lora_scale)["encoder"]
    jax.tree.map(np.testing.assert_array_equal, start, pretrained)
    trained = load_model(run)[0]["params"]
    jax.tree.map(np.testing.assert_array_equal, trained["encoder"], pretrained)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(trained[lora.NAME]))
    assert trained[lora.NAME]["attention"]["qkv"]["a"].shape == (2, 100, 3)


def test_merged_updates_are_what_was_trained(lora_run, corpus, tmp_path):
    """In the compiled evaluation of the run, for who loads it, and for who exports it."""
    run, _ = lora_run
    variables, model = read_model(run)
    assert isinstance(model, ClassifierConfig) and lora.NAME not in variables["params"]
    raw = load_model(run)[0]["params"]
    own, kernel = raw[lora.NAME]["mlp"]["down"], raw["encoder"]["blocks"]["mlp"]["down"]["kernel"]
    x = np.random.default_rng(0).standard_normal((7, 400)).astype(np.float32)
    unmerged = x @ kernel[1] + 16 / 3 * (x @ own["a"][1]) @ own["b"][1]
    merged = variables["params"]["encoder"]["blocks"]["mlp"]["down"]["kernel"]
    np.testing.assert_allclose(x @ merged[1], unmerged, atol=1e-4)
    windows = corpus.windows("test", 2)
    logits, labels = [], []
    for montage in windows.montages:
        eeg = np.stack([window.eeg for window in montage])
        logits.append(load(run).predict_logits(eeg, montage.electrodes, sfreq=200))
        labels += [window.label for window in montage]
    scores = binary(expit(np.concatenate(logits)), np.array(labels)).values
    (tested,) = [line for line in read_metrics(run) if line["split"] == "test"]
    assert scores["log_loss"] == pytest.approx(tested["log_loss"], abs=1e-5)
    convert(run, tmp_path / "model.safetensors")
    jax.tree.map(np.testing.assert_array_equal, read_model(tmp_path / "model.safetensors")[0], variables)
    assert read_model(tmp_path / "model.safetensors")[1] == model
