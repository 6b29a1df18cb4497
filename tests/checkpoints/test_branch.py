"""Runs that begin at a checkpoint of another run, on the toy stage: with all that was learnt, by another recipe."""

import dataclasses
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from sentences import refuses
from toy_stage import STEPS_PER_EPOCH, ToyStage, toy_config, train_toy

from labram_jax.checkpoints.branch import Branch, Origin
from labram_jax.checkpoints.models import read_meta
from labram_jax.errors import InputError
from labram_jax.inspect import inspect
from labram_jax.jsonfile import sealed
from labram_jax.parallel.sharding import make_mesh
from labram_jax.training.program import Program, prepare

TOTAL = 4 * STEPS_PER_EPOCH


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A whole run that keeps all of its checkpoints: 6, 12, 18, 24."""
    run = tmp_path_factory.mktemp("branches") / "source"
    train_toy(toy_config(run, **{"loop.keep": 9}))
    return run


def branch(run: Path, origin: str | Path, end: int = 100, encoder: str = "1", **changes):
    """Trains a branch, whose data end at step `end`."""
    made_from = Origin({"encoder": encoder}, Branch.parse(str(origin)))
    return train_toy(toy_config(run, **changes), reading={"end": end}, made_from=made_from)


def meta(run: Path, step: int = TOTAL) -> dict:
    return read_meta(run / "checkpoints" / str(step))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_an_unchanged_recipe_ends_where_the_source_ends(source, tmp_path, capsys):
    """Bit by bit: parameters, moments, counts and the collection, which starts anew after the first epoch."""
    before = contents(source)
    assert branch(tmp_path / "run", f"{source}@6").finished
    assert f"branching from step 6 of {source}, at step 6 of {TOTAL}, with the same recipe" in capsys.readouterr().err
    assert meta(tmp_path / "run")["digests"] == meta(source)["digests"]
    origin = {"run": str(source), "step": 6, "digest": sealed({"digests": meta(source, 6)["digests"]})["digest"]}
    assert f"begun at step 6 of {source}\n" in f"{inspect(tmp_path / 'run')}\n"
    assert meta(tmp_path / "run")["branched_from"] == origin and "branched_from" not in meta(source)
    assert contents(source) == before


def test_the_same_command_goes_on_though_the_source_did_so_too(source, tmp_path, capsys):
    moved, run = tmp_path / "moved", tmp_path / "run"
    shutil.copytree(source, moved)
    with pytest.raises(InputError, match="the training data ended at step 20"):
        branch(run, f"{moved}@12", end=20)
    shutil.rmtree(moved / "checkpoints" / "12")  # by its retention
    assert branch(run, f"{moved}@12", encoder="2").finished
    told = capsys.readouterr().err
    assert f"resuming from step 18 of {TOTAL}" in told and "encoder  holds another model now" in told
    assert meta(run)["digests"] == meta(source)["digests"]
    assert meta(run)["branched_from"]["step"] == 12 and meta(run)["inputs"] == {"encoder": "1"}  # as it began
    assert branch(run, moved).finished  # the latest was meant, whatever that is now
    assert branch(run, f"{source}@12").finished  # the same checkpoint at another mount
    assert train_toy(toy_config(run)).finished
    for other in (f"{source}@18", tmp_path / "absent"):
        with refuses("has checkpoints already, and did not begin at .*: give another run directory, or leave"):
            branch(run, other)
    with refuses("has checkpoints already"):
        branch(source, f"{source}@12")


def program_of(**changes) -> Program:
    config = toy_config("", **changes)
    return prepare(ToyStage(config), make_mesh(config.mesh), TOTAL, STEPS_PER_EPOCH)


def adam_of(opt_state) -> optax.ScaleByAdamState:
    leaves = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, optax.ScaleByAdamState))
    return next(node for node in leaves if isinstance(node, optax.ScaleByAdamState))


@pytest.mark.parametrize(
    "changes",
    [{"optimizer.clip_norm": None}, {"optimizer.layer_decay": 0.5}, {"optimizer.clip_norm": None, "mesh.data": 1}],
)
def test_moments_go_over_into_another_optimizer(source, changes):
    point = Branch(source, 12).read()
    state = point.put_into(program_of(**changes).create_state())
    adam = adam_of(state.opt_state)
    jax.tree.map(np.testing.assert_array_equal, adam.mu, point.resumption.first)
    jax.tree.map(np.testing.assert_array_equal, adam.nu, point.resumption.second)
    jax.tree.map(np.testing.assert_array_equal, state.variables, point.variables)
    assert (int(adam.count), int(state.step), int(state.guard["counted"])) == (12, 12, 12)
    assert np.any(point.resumption.first["kernel"])


def test_parameters_that_are_trained_on_one_side_only_have_fresh_moments(source):
    class Head(ToyStage):
        def trainable(self, params):
            return {"hidden": False, "kernel": True}

    config = toy_config("")
    state = prepare(Head(config), make_mesh(config.mesh), TOTAL, STEPS_PER_EPOCH).create_state()
    point = Branch(source, 12).read()
    adam = adam_of(point.put_into(state).opt_state)
    np.testing.assert_array_equal(adam.mu["kernel"], point.resumption.first["kernel"])
    assert isinstance(adam.mu["hidden"], optax.MaskedNode)
    without = {name: {**part, "hidden": None} for name, part in (("first", point.resumption.first),)}
    fewer = dataclasses.replace(point, resumption=dataclasses.replace(point.resumption, **without))
    assert not np.any(adam_of(fewer.put_into(program_of().create_state()).opt_state).mu["hidden"])


def test_a_changed_recipe_is_told(source, tmp_path, capsys):
    changes = {"optimizer.learning_rate": 0.01, "optimizer.clip_norm": None, "loop.log_every": 5}
    assert branch(tmp_path / "run", source / "checkpoints" / "..", **changes, **{"loop.epochs": 5}).step == 30
    told = capsys.readouterr().err
    assert f"branching from step {TOTAL} of" in told and "optimizer.learning_rate 0.01 instead of 0.05" in told
    assert "optimizer.clip_norm None instead of 3.0" in told and "log_every" not in told


def test_what_cannot_be_a_beginning(source, tmp_path):
    for origin, sentence in (
        (f"{source}@7", "has no checkpoint of step 7: give one of 6, 12, 18, 24 after the @"),
        (tmp_path / "absent", "is no run with a finished checkpoint: give --branch-from RUN@STEP"),
        (f"{source}@24", "has 24 steps behind it, and this training ends after 24: raise loop.epochs"),
        ("gs://bucket/run@3", "is an address, not a directory"),
    ):
        with refuses(sentence):
            branch(tmp_path / "run", origin)
    point = Branch(source, 12).read()
    wider = point.variables | {"params": {"hidden": np.zeros((8, 99)), "kernel": np.zeros((99, 1))}}
    fewer = {"params": point.variables["params"]}
    for variables, sentence in (
        (wider, r"12 has params/hidden \(8, 99\), and the configured model params/hidden \(8, 16\): a branch must"),
        (fewer, r"12 has no codebook/mean, and the configured model codebook/mean \(8,\)"),
    ):
        with refuses(sentence):
            dataclasses.replace(point, variables=variables).put_into(program_of().create_state())
