"""Steps whose numbers have gone wrong: they change nothing, are told, and too many of them end a run."""

import json

import jax
import numpy as np
import optax
import pytest
from toy_stage import STEPS_PER_EPOCH, ToyStage, batch, lines, toy_config, train_toy

from labram_jax.checkpoints.models import load_model
from labram_jax.errors import InputError
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.parallel.state import Averages, averages_of
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import prepare

NAN = float("nan")


def equal(one, other) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def states(config, poison: dict[int, float], steps: int, total: int = 100) -> list[tuple]:
    """State (on the host) and metrics after each of the first steps."""
    mesh = make_mesh(config.mesh)
    program = prepare(ToyStage(config, poison), mesh, total, STEPS_PER_EPOCH)
    state, after = program.create_state(), []
    for step in range(steps):
        state, metrics = program.train_step(state, put_batch(batch(step), mesh))
        after.append(jax.device_get((state, metrics)))
    return after


def skipped(run) -> list[dict]:
    return [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]


def last_model(run):
    return load_model(run)[0]


def test_a_step_that_is_not_finite_changes_nothing(tmp_path):
    """Of the last one the loss is finite, and the norm of the gradients is not."""
    poison = {3: NAN, 5: float("inf"), 7: 1e38}
    found = states(toy_config(tmp_path, **{"optimizer.ema_decay": 0.9}), poison, 9)
    for step in poison:
        (before, _), (after, metrics), (later, _) = found[step - 1 : step + 2]
        assert metrics["skipped_in_a_row"] == 1 and after.step == before.step + 1
        for name in ("params", "collections"):
            assert equal(getattr(before, name), getattr(after, name))
            assert not equal(getattr(after, name), getattr(later, name))
        (*inner, schedule, averages), (*inner_after, schedule_after, averages_after) = before.opt_state, after.opt_state
        assert isinstance(schedule, optax.ScaleByScheduleState) and schedule_after.count == schedule.count + 1
        assert equal((inner, averages), (inner_after, averages_after))
        assert isinstance(averages, Averages) and not equal(averages, averages_of(later.opt_state))


def test_only_what_is_far_above_a_full_window_is_a_spike(tmp_path):
    config = toy_config(tmp_path, **{"guard.spike_deviations": 6.0, "guard.spike_window": 8})
    found = states(config, {2: 1e3, 20: 1e3}, 24)
    wrong = [step for step, (_, metrics) in enumerate(found) if metrics["skipped_in_a_row"]]
    assert wrong == [20]  # by step 2 nobody knows yet what is usual, and by step 20 it is in no window any more
    assert equal(found[19][0].params, found[20][0].params)
    losses = np.float32([metrics["loss"] for _, metrics in found])
    assert set(found[-1][0].guard["loss"]) == set(losses[[15, 16, 17, 18, 19, 21, 22, 23]])


def test_wrong_steps_are_counted_and_named(tmp_path, capsys):
    windows = [{"corpus": "C", "recording": "r", "start_seconds": 4.0}]
    run = tmp_path / "run"
    assert train_toy(toy_config(run), poison={9: NAN}, windows_of=lambda step: windows * (step + 1)).finished
    (line,) = skipped(run)
    assert line["step"] == 10 and line["loss"] is None and line["windows"] == windows * 10
    counts = {line["step"]: line["skipped_steps"] for line in lines(run) if line["split"] == "train"}
    assert sum(counts.values()) == counts[12] == 1
    assert all(line["loss"] is not None for line in lines(run) if line["split"] == "train")
    assert "step 10 changed nothing, since the loss is nan" in capsys.readouterr().err


def test_too_many_in_a_row_are_passed_over(tmp_path, capsys):
    """From the checkpoint of step 6, as if the steps up to the last wrong one had not been: also after a restart."""
    changes, poison = {"guard.skips_in_a_row": 3}, dict.fromkeys(range(8, 11), NAN)
    run, broken = tmp_path / "run", tmp_path / "broken"
    assert train_toy(toy_config(run, **changes), poison=poison).finished
    told = capsys.readouterr().err
    assert "3 steps in a row changed nothing: going back to what step 6 left, and on behind step 11" in told
    assert [line["step"] for line in skipped(run)] == [9, 10, 11]
    for end in (12, 15):  # broken off before there is a checkpoint behind the stretch, and after
        with pytest.raises(InputError, match="data ended"):
            train_toy(toy_config(broken, **changes), poison=poison, reading={"end": end})
    assert train_toy(toy_config(broken, **changes), poison=poison).finished
    assert equal(last_model(run), last_model(broken)) and lines(run) == lines(broken)
    assert skipped(run) == skipped(broken)


def test_a_run_that_goes_wrong_again_and_again_ends_with_a_report(tmp_path):
    run, changes = tmp_path / "run", {"guard.skips_in_a_row": 2, "guard.go_back": 1}
    with pytest.raises(InputError) as error:
        train_toy(
            toy_config(run, **changes),
            poison=dict.fromkeys(range(8, 24), NAN),
            windows_of=lambda step: [{"corpus": "C", "recording": "bad one", "start_seconds": 0.0}],
        )
    said = str(error.value)
    assert "the loss is nan at step 12" in said and "the checkpoint of step 6 is good" in said
    assert "bad one of C (4 steps)" in said and f"--branch-from {run}@6" in said
    assert max(line["step"] for line in read_metrics(run)) == 12


def test_without_a_checkpoint_training_goes_back_to_its_beginning(tmp_path):
    changes = {"guard.skips_in_a_row": 2, "loop.epochs": 1}
    assert train_toy(toy_config(tmp_path / "run", **changes), poison={1: NAN, 2: NAN}).finished
    state = states(toy_config(tmp_path), dict.fromkeys(range(3), NAN), 6, total=6)[-1][0]
    assert equal(last_model(tmp_path / "run")["params"], state.params)
