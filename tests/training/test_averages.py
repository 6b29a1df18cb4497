"""Moving averages of the parameters: the model of a run that keeps them, in its scores and in its checkpoints."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sentences import refuses
from toy_stage import STEPS_PER_EPOCH, ToyStage, batch, lines, toy_config, train_toy

from labram_jax.checkpoints.branch import Branch, Origin
from labram_jax.checkpoints.carryover import read_resumption
from labram_jax.checkpoints.models import load_model, read_meta
from labram_jax.checkpoints.resume import check_resumable
from labram_jax.config import OptimizerConfig, TokenizerStageConfig, replace
from labram_jax.configfile import load_file, to_dict
from labram_jax.errors import InputError
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.parallel.state import averages_of
from labram_jax.training.evaluating import evaluate
from labram_jax.training.optimizer import make_optimizer
from labram_jax.training.program import Program, prepare

DECAY, TOTAL = 0.8, 4 * STEPS_PER_EPOCH
AVERAGED = {"optimizer.ema_decay": DECAY, "loop.keep": 9}


def program_of(**changes) -> Program:
    config = toy_config("", **changes)
    return prepare(ToyStage(config), make_mesh(config.mesh), TOTAL, STEPS_PER_EPOCH)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed, and all of whose checkpoints are there: 6, 12, 18, 24."""
    run = tmp_path_factory.mktemp("averages") / "whole"
    assert train_toy(toy_config(run, **AVERAGED)).finished
    return run


def at(run, step: int = TOTAL):
    return run / "checkpoints" / str(step)


def digests(run, step: int = TOTAL) -> dict:
    return read_meta(at(run, step))["digests"]


def moved(run, step: int) -> dict:
    """What moves, from the optimizer of a checkpoint."""
    found = read_resumption(at(run, step), read_meta(at(run, step)))
    assert found.averaged_updates == step
    return found.moved


def equal(one, other) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("warmup", [False, True])
def test_averages_follow_the_formula(warmup):
    """From the first parameters on; what is not trained, or does not move, keeps its bits at the reference's decay."""
    config = OptimizerConfig(0.1, 0.1, 0, weight_decay=0, ema_decay=0.9999 if not warmup else 0.3, ema_warmup=warmup)
    start = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32)
    params = {"moves": jnp.asarray(start), "stays": jnp.asarray(start), "frozen": jnp.asarray(start)}
    trainable = {"moves": True, "stays": True, "frozen": False}
    optimizer, _ = make_optimizer(config, params, 1, 100, 10, trainable)
    state, expected = optimizer.init(params), start.astype(np.float64)
    step = jax.jit(optimizer.update)
    for n in range(30):
        gradients = {name: jnp.full((3, 50), float(name == "moves")) for name in params}
        updates, state = step(gradients, state, params)
        params = optax.apply_updates(params, updates)
        decay = min(0.3, (1 + n) / (10 + n)) if warmup else 0.9999
        expected = decay * expected + (1 - decay) * np.asarray(params["moves"], np.float64)
    found = averages_of(state)
    np.testing.assert_allclose(found.averaged["moves"], expected, rtol=1e-6, atol=2e-6)
    assert np.abs(np.asarray(params["moves"]) - expected).min() > (0.04 if warmup else 1)
    np.testing.assert_array_equal(found.averaged["stays"], start)
    assert isinstance(found.averaged["frozen"], optax.MaskedNode) and int(found.count) == 30


def test_they_are_what_is_scored_and_what_a_checkpoint_holds_as_the_model(whole):
    program = program_of(**AVERAGED)
    state = program.create_state()
    expected = jax.device_get(state.params)
    for step in range(STEPS_PER_EPOCH):
        state, _ = program.train_step(state, put_batch(batch(step), program.mesh))
        params = jax.device_get(state.params)
        expected = jax.tree.map(lambda a, p: a + np.float32(1 - DECAY) * (p - a), expected, params)
    variables = load_model(at(whole, STEPS_PER_EPOCH))[0]
    for name, value in variables["params"].items():
        np.testing.assert_allclose(value, expected[name], atol=1e-6)
        assert np.abs(value - params[name]).max() > 1e-3
    equal(moved(whole, STEPS_PER_EPOCH), params)
    scores = {line["step"]: line["error"] for line in lines(whole) if line["split"] == "validation"}
    validation = [batch(10_000 + i) for i in range(2)]
    model = program.put_model(variables)
    assert scores[STEPS_PER_EPOCH] == evaluate(program, *model, validation)["error"]
    assert scores[STEPS_PER_EPOCH] != evaluate(program, state.variables, state.frozen, validation)["error"]
    best = json.loads((whole / "best.json").read_text())
    assert best["value"] == min(scores.values()) and at(whole, best["step"]).is_dir()


@pytest.mark.parametrize("end", [3, 11], ids=["before any checkpoint", "later"])
def test_a_run_that_is_broken_off_goes_on_to_the_same_bits(whole, tmp_path, end):
    with pytest.raises(InputError, match="the training data ended"):
        train_toy(toy_config(tmp_path, **AVERAGED), reading={"end": end})
    assert train_toy(toy_config(tmp_path, **AVERAGED)).finished
    assert digests(tmp_path) == digests(whole) and lines(tmp_path) == lines(whole)
    assert any("averaged" in name for name in digests(whole))


def test_a_branch_goes_on_from_what_moves(whole, tmp_path):
    """With averages to the same bits; without, from the parameters that they were of."""
    made_from = Origin(branch=Branch(whole, 12))
    assert train_toy(toy_config(tmp_path, **AVERAGED), made_from=made_from).finished
    assert digests(tmp_path) == digests(whole)
    plain = Branch(whole, 12).read().put_into(program_of().create_state())
    equal(plain.params, moved(whole, 12))
    assert averages_of(plain.opt_state) is None


def test_averages_begin_at_the_parameters_of_a_run_that_kept_none(tmp_path):
    train_toy(toy_config(tmp_path, **{"loop.epochs": 1}))
    state = Branch(tmp_path).read().put_into(program_of(**AVERAGED).create_state())
    found = averages_of(state.opt_state)
    equal(found.averaged, state.params)
    equal(state.params, load_model(tmp_path)[0]["params"])
    assert int(found.count) == 0 and not np.any(state.params["kernel"] is found.averaged["kernel"])
    with refuses(r"started with optimizer.ema_decay = null and the configuration now says 0.8: .* --branch-from"):
        train_toy(toy_config(tmp_path, **AVERAGED))


def test_a_run_from_before_there_were_averages_goes_on_without():
    config = toy_config("run")
    saved = json.loads(json.dumps(to_dict(config)))
    for name in ("ema_decay", "ema_warmup"):
        del saved["optimizer"][name]
    assert check_resumable("run", saved, to_dict(config)) == []
    with refuses("started with optimizer.ema_decay = null"):
        check_resumable("run", saved, to_dict(replace(config, **AVERAGED)))


def test_they_take_the_memory_of_the_parameters():
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=None) for name, value in batch(0).items()}
    sizes = []
    for changes in ({}, AVERAGED):
        program = program_of(**changes)
        compiled = program.lower(shapes)["train_step"].compile()
        sizes.append(compiled.memory_analysis().argument_size_in_bytes)
    parameters = sum(leaf.size * 4 for leaf in jax.tree.leaves(program.abstract.params))
    assert parameters <= sizes[1] - sizes[0] < parameters + 64


def test_they_are_off_in_the_published_recipes_and_never_of_a_tokenizer():
    names = [f"finetune_{corpus}_{size}" for corpus in ("tuab", "tuev") for size in ("base", "large", "huge")]
    names += ["pretrain_base", "pretrain_large", "pretrain_huge"]
    assert all(load_file(name).optimizer.ema_decay is None for name in names)
    with refuses("a tokenizer has no optimizer.ema_decay"):
        TokenizerStageConfig(run="", optimizer=OptimizerConfig(ema_decay=0.9))
    with refuses("ema_decay 1 must lie in"):
        OptimizerConfig(ema_decay=1)
    with refuses("ema_warmup is of averages that are not kept"):
        OptimizerConfig(ema_warmup=True)
