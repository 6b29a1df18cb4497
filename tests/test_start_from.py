"""Pretraining that goes on from a file of PyTorch, and tokenizers and encoders that come from one."""

from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from golden_data import FOLDER
from sentences import refuses
from small_runs import finetuning_config, pretraining_config
from torch_writer import write_torch

from labram_jax.checkpoints.carryover import carry_over
from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.models import find_model
from labram_jax.convert.exporting import unused_tensors
from labram_jax.convert.moments import official_order
from labram_jax.convert.official import to_official
from labram_jax.data.reader import open_corpora
from labram_jax.parallel.sharding import make_mesh
from labram_jax.runs import make_stage, train
from labram_jax.training.program import prepare
from labram_jax.weights import convert, read_model


@pytest.fixture(scope="module")
def official_checkpoint(corpus, tokenizer_run, pretraining_run, tmp_path_factory) -> Path:
    """The second of the three epochs of a run, as the official code would have saved it."""
    config = pretraining_config(pretraining_run, [corpus.path], tokenizer_run)
    stage = make_stage(config, open_corpora(config.data), 1)
    program = prepare(stage, make_mesh(config.mesh), 1, 1)
    with CheckpointDirectory(pretraining_run) as checkpoints:
        state = checkpoints.restore(checkpoints.steps[1], program.abstract)
    adam = next(
        part
        for part in jax.tree.leaves(state.opt_state, is_leaf=lambda x: isinstance(x, optax.ScaleByAdamState))
        if isinstance(part, optax.ScaleByAdamState)
    )
    model = stage.config.model
    weights, first, second = (
        to_official({"params": jax.device_get(tree)}, model) for tree in (state.params, adam.mu, adam.nu)
    )
    tensors = weights | unused_tensors(model)
    names = official_order(tensors)
    numbers = {name: number for number, name in enumerate(name for group in names for name in group)}
    entries = {
        numbers[name]: {"step": np.array(int(adam.count), "f4"), "exp_avg": first[name], "exp_avg_sq": second[name]}
        for name in weights
    }
    optimizer = {"state": entries, "param_groups": [{"params": [numbers[n] for n in group]} for group in names]}
    path = tmp_path_factory.mktemp("official") / "checkpoint-1.pth"
    return write_torch(path, {"model": tensors, "optimizer": optimizer, "epoch": 1, "args": {}})


def test_it_ends_where_the_unbroken_run_ends(
    official_checkpoint, corpus, tokenizer_run, pretraining_run, tmp_path, capsys
):
    """Bit by bit: weights, moments, counts, the data's position and the randomness of the steps went over."""
    config = pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run, start_from=str(official_checkpoint))
    result = train(config)
    assert "with the moments of" in capsys.readouterr().err
    with CheckpointDirectory(pretraining_run) as unbroken, CheckpointDirectory(tmp_path / "run") as broken:
        assert broken.steps == unbroken.steps[2:] == [result.step]
        digests = [checkpoints.meta(result.step)["digests"] for checkpoints in (broken, unbroken)]
        assert digests[0] == digests[1]


def test_weights_alone_start_at_step_0(official_checkpoint, corpus, tokenizer_run, tmp_path):
    convert(official_checkpoint, tmp_path / "model")
    for start in (tmp_path / "model", official_checkpoint):
        config = pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run, start_from=str(start))
        stage = make_stage(config, open_corpora(config.data), 1)
        jax.tree.map(np.testing.assert_array_equal, stage.initial(), read_model(tmp_path / "model")[0])
        assert (stage.resumption() is None) == (start != official_checkpoint)


def test_native_moments_go_on_where_they_are_asked_for(corpus, tokenizer_run, pretraining_run, tmp_path):
    """With the count that corrects them; data and schedule begin anew."""
    options = {"start_from": str(pretraining_run), "start_moments": True}
    config = pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run, **options)
    stage = make_stage(config, [corpus], 1)
    where = find_model(pretraining_run)
    updates = int(where.name)
    program = prepare(stage, make_mesh(config.mesh), 9, 9)
    state = carry_over(program.create_state(), stage.resumption(), 0)
    with CheckpointDirectory(pretraining_run) as checkpoints:
        saved = checkpoints.restore(updates, program.abstract)
    counts = [int(leaf) for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim == 0]
    assert counts == [updates, 0] and int(state.step) == stage.resumption().epochs == 0
    for mine, other in zip(*map(jax.tree.leaves, (state.opt_state, saved.opt_state)), strict=True):
        np.testing.assert_array_equal(mine, other) if mine.ndim else None
    jax.tree.map(np.testing.assert_array_equal, state.params, saved.params)


def test_who_has_no_moments_cannot_keep_them(corpus, tokenizer_run, trained_encoder, tmp_path):
    trained_encoder.save(tmp_path / "exported")
    for start in (tmp_path / "exported", tokenizer_run, FOLDER / "labram.pth"):
        options = {"start_from": str(start), "start_moments": True}
        tokenizer = FOLDER / "vqnsp.pth" if start.suffix else tokenizer_run
        with refuses("has no moments that pretraining could keep: give a run of pretraining or one of its checkpoints"):
            make_stage(pretraining_config(tmp_path / "run", [corpus.path], tokenizer, **options), [corpus], 1)
    with refuses("start_moments keeps the moments of start_from, which is empty"):
        pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run, start_moments=True)


def test_what_cannot_be_gone_on_from(official_checkpoint, corpus, tokenizer_run, classifier_run, tmp_path):
    def start(path, tokenizer=tokenizer_run, **changes):
        return train(pretraining_config(tmp_path / "run", [corpus.path], tokenizer, start_from=str(path), **changes))

    with refuses("2 epochs behind it, and loop.epochs is 2: raise loop.epochs"):
        start(official_checkpoint, **{"loop.epochs": 2})
    with refuses("predicts 64 codes, but the tokenizer .* has 16"):
        start(FOLDER / "labram.pth")
    with refuses("is nothing that pretraining can start from"):
        start(classifier_run)


def test_the_encoder_of_a_tokenizer_is_a_start(corpus, tokenizer_run, trained_tokenizer, tmp_path):
    config = pretraining_config(tmp_path / "run", [corpus.path], tokenizer_run, start_from=str(tokenizer_run))
    stage = make_stage(config, [corpus], 1)
    encoder, source = stage.config.model.encoder, trained_tokenizer.config.encoder
    assert (encoder.depth, encoder.qkv_bias, encoder.qk_norm) == (source.depth, True, False)
    assert encoder.class_position == "first_electrode"
    assert stage.initial()["params"].keys() == {"encoder"} and stage.resumption() is None
    state = prepare(stage, make_mesh(config.mesh), 1, 1).create_state()
    known = trained_tokenizer.variables["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params["encoder"]), known)


def test_tokenizers_and_encoders_from_files(corpus, tmp_path):
    pretraining = pretraining_config(tmp_path / "run", [corpus.path], FOLDER / "vqnsp.pth")
    stage = make_stage(pretraining, [corpus], 1)
    assert stage.config.model.codes == 64
    finetuning = finetuning_config(tmp_path / "run", [corpus.path], FOLDER / "labram.pth")
    stage = make_stage(finetuning, [corpus], 1)
    expected = read_model(FOLDER / "labram.pth")[0]["params"]["encoder"]
    assert stage.initial()["params"].keys() == {"encoder"}
    jax.tree.map(np.testing.assert_array_equal, stage.initial()["params"]["encoder"], expected)
    with pytest.warns(UserWarning, match=r"vqnsp\.pth is a tokenizer: .* from its encoder"):
        stage = make_stage(finetuning_config(tmp_path / "run", [corpus.path], FOLDER / "vqnsp.pth"), [corpus], 1)
    expected = read_model(FOLDER / "vqnsp.pth")[0]["params"]["encoder"]
    jax.tree.map(np.testing.assert_array_equal, stage.initial()["params"]["encoder"], expected)
    with refuses(r"labram\.pth holds no tokenizer"):
        make_stage(pretraining_config(tmp_path / "run", [corpus.path], FOLDER / "labram.pth"), [corpus], 1)
