"""Probes in the loop: when they come, what log and checkpoints hold of them, and that an interruption costs none."""

import signal

import jax
import numpy as np
import pytest
from toy_stage import STEPS_PER_EPOCH, batch, lines, toy_config, train_toy

from labram_jax.checkpoints.directory import CheckpointDirectory
from labram_jax.checkpoints.models import load_model
from labram_jax.errors import InputError
from labram_jax.training.probing import Probe

SPLIT, POWERS = "probe/made", "probe/made/band_powers"
TOTAL = 4 * STEPS_PER_EPOCH
DUE = [0, 9, 18, TOTAL]  # every one and a half epochs, beside evaluations after each epoch


def made_probe(interrupt=lambda: None) -> Probe:
    """Scores that follow from the parameters, taken in two parts between which `interrupt` is called."""

    def scores(params, stopping):
        size = float(np.square(jax.device_get(params["kernel"])).sum())
        interrupt()
        return None if stopping() else {SPLIT: {"auroc": size, "loss": -size}}

    return Probe(1.5, {SPLIT: "auroc"}, scores, lambda: {POWERS: {"auroc": 0.5}}, (POWERS,))


def train_probed(run, probe=None, **options):
    return train_toy(toy_config(run, **{"loop.keep": 9}), probe=probe or made_probe(), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("probing") / "whole"
    assert train_probed(run).finished
    return run


def probes(run, split=SPLIT) -> list[int]:
    return [line["step"] for line in lines(run) if line["split"] == split]


def test_probes_come_when_due_and_change_nothing(whole, tmp_path, capsys):
    """At the beginning, every so many epochs, and at the end; checkpoints say what the probe found at their step."""
    assert probes(whole) == DUE and probes(whole, POWERS) == [0]
    with CheckpointDirectory(whole) as checkpoints:
        for step in checkpoints.steps:
            found = checkpoints.meta(step)["metrics"]
            logged = {line["split"]: line for line in lines(whole) if line["step"] == step}
            assert set(found) == {"error"} | ({"probe/made/auroc", "probe/made/loss"} if step in DUE else set())
            assert all(found[f"{SPLIT}/{name}"] == logged[SPLIT][name] for name in ("auroc", "loss") if step in DUE)
    train_toy(toy_config(tmp_path / "plain"))
    jax.tree.map(np.testing.assert_array_equal, load_model(whole)[0], load_model(tmp_path / "plain")[0])
    assert probes(tmp_path / "plain") == [] and "probe" not in capsys.readouterr().err


def test_a_score_is_told_beside_its_references():
    log, probe = {POWERS: {"step": 0, "auroc": 0.5}}, made_probe()
    assert probe.told(0, SPLIT, {"auroc": 0.6}, lambda split: log.get(split, {})) == "auroc 0.6 (0.5 by band powers)"
    log[SPLIT] = {"step": 0, "auroc": 0.6}
    told = probe.told(9, SPLIT, {"auroc": 0.7, "loss": 1.0}, lambda split: log.get(split, {}))
    assert told == "auroc 0.7 (0.6 at step 0, 0.5 by band powers)"
    assert probe.told(9, SPLIT, {"auroc": 0.7}, lambda _: {}) == "auroc 0.7"


@pytest.mark.parametrize("end", [3, 11], ids=["before any checkpoint", "later"])
def test_a_run_that_is_broken_off_logs_what_an_unbroken_one_does(whole, tmp_path, end):
    with pytest.raises(InputError, match="the training data ended"):
        train_probed(tmp_path, reading={"end": end})
    assert train_probed(tmp_path).finished
    assert lines(tmp_path) == lines(whole)


def test_a_probe_that_is_stopped_leaves_no_scores_and_is_made_up_for(whole, tmp_path):
    """At its third call, which comes with an evaluation: that is made anew as well, and logged once."""
    calls = []

    def interrupt():
        calls.append(None)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGTERM)

    stopped = train_probed(tmp_path, made_probe(interrupt))
    assert (stopped.finished, stopped.step) == (False, 18) and probes(tmp_path) == [0, 9]
    with CheckpointDirectory(tmp_path) as checkpoints:
        assert checkpoints.steps[-1] == 18 and not checkpoints.meta(18)["metrics"]
    assert train_probed(tmp_path).finished
    assert lines(tmp_path) == lines(whole)


def test_a_probe_that_a_run_did_not_begin_with_begins_where_it_goes_on(tmp_path):
    with pytest.raises(InputError, match="the training data ended"):
        train_toy(toy_config(tmp_path), reading={"end": 10})
    train_probed(tmp_path)
    assert probes(tmp_path) == [6, *DUE[1:]] and probes(tmp_path, POWERS) == [6]
    assert train_probed(tmp_path, test=lambda: [batch(20_000)]).finished  # it is complete: nothing is probed again
    assert probes(tmp_path) == [6, *DUE[1:]]
