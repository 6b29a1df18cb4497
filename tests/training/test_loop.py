"""The loop on a toy stage: whole runs, stopped, killed, resumed, and on several devices."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from toy_stage import ROWS, STEPS_PER_EPOCH, batch, lines, toy_config, train_toy

from labram_jax.checkpoints.models import load_model
from labram_jax.errors import InputError
from labram_jax.training.interval import Interval
from labram_jax.training.metricslog import read_metrics
from labram_jax.training.program import Compiled

SCRIPT = Path(__file__).parents[1] / "toy_stage.py"


def start_toy(*arguments, devices: int = 1) -> subprocess.Popen:
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def wait_for(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.02)


def steps(run: Path) -> list[int]:
    return sorted(int(p.name) for p in (run / "checkpoints").glob("*") if p.name.isdigit())


def last_model(run: Path):
    return load_model(run / "checkpoints" / str(steps(run)[-1]))[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run of 4 epochs that nothing disturbed."""
    run = tmp_path_factory.mktemp("loop") / "whole"
    result = train_toy(toy_config(run), test=lambda: [batch(20_000)])
    assert result.finished and result.step == 4 * STEPS_PER_EPOCH and "error" in result.test
    return run


def test_run_learns_logs_evaluates_and_saves(whole):
    log = lines(whole)
    train = [line for line in log if line["split"] == "train"]
    assert [line["step"] for line in train] == [4, 6, 8, 12, 16, 18, 20, 24]
    assert train[-1]["loss"] < train[0]["loss"]
    assert {"loss", "grad_norm", "learning_rate", "mean_norm", "epoch"} <= set(train[0])
    assert [line["step"] for line in log if line["split"] == "validation"] == [6, 12, 18, 24]
    assert [line["split"] for line in log][-1] == "test"
    assert steps(whole)[-2:] == [18, 24]


def test_stop_request_saves_and_ends_well(whole, tmp_path):
    run = tmp_path / "stopped"
    process = start_toy(run, 4, "--slow", 0.15)
    wait_for(lambda: len(read_metrics(run)) >= 1, process)
    for _ in range(3):  # more of them change nothing
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
    output = finish(process)
    step = steps(run)[-1]
    assert output.count("asked to stop") == 1
    assert f"stopped {step}" in output and "the same command goes on" in output and step < 4 * STEPS_PER_EPOCH
    assert train_toy(toy_config(run)).finished
    jax.tree.map(np.testing.assert_array_equal, last_model(run), last_model(whole))


def test_steps_in_one_program_are_the_same_steps(whole, tmp_path, monkeypatch):
    """Two at a time where nothing comes between: all but the one with the event, and the one before it."""
    run, called, call = tmp_path / "several", Counter(), Compiled.__call__
    arrived, arrive = [], Interval.arrive
    monkeypatch.setattr(Compiled, "__call__", lambda own, *args: called.update([own.name]) or call(own, *args))
    monkeypatch.setattr(
        Interval, "arrive", lambda own, steps, waited: arrived.append(steps) or arrive(own, steps, waited)
    )
    assert train_toy(toy_config(run, **{"loop.steps_per_dispatch": 2}), test=lambda: [batch(20_000)]).finished
    assert called["train_step"] == 2 and called["train_steps"] == 11 and called["start_mean"] == 1
    assert sum(arrived) == 24 and max(arrived) > 2  # the time is shared among all steps that come together
    # Compiled into a loop, a sum may be rounded another way.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6), last_model(run), last_model(whole)
    )
    for mine, other in zip(lines(run), lines(whole), strict=True):
        assert mine.pop("split") == other.pop("split")
        assert mine == pytest.approx(other, rel=1e-5, abs=1e-6)


def test_a_run_saved_by_the_clock_goes_on_bit_for_bit(whole, tmp_path):
    """Saved after every logged interval, since any takes longer than no time, and broken off by bad data."""
    run, clocked = tmp_path / "clocked", {"loop.save_every_minutes": 1e-9, "loop.keep": 10}
    with pytest.raises(InputError, match="the training data ended at step 22 of 24"):
        train_toy(toy_config(run, **clocked), reading={"end": 22})
    assert steps(run) == [4, 6, 8, 12, 16, 18, 20]
    assert train_toy(toy_config(run)).finished
    jax.tree.map(np.testing.assert_array_equal, last_model(run), last_model(whole))
    assert lines(run) == [line for line in lines(whole) if line["split"] != "test"]


def test_some_steps_are_traced_on_request(tmp_path, capsys):
    assert train_toy(toy_config(tmp_path), validation=None, profile=3).finished
    told = capsys.readouterr().err
    assert f"the trace is in {tmp_path / 'profile'}: pip install xprof" in told and " ms a step" in told
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events if event.name == "train"]
    assert [dict(event.stats)["step_num"] for event in events] == [10, 11, 12]


def test_another_mesh_trains_the_same_model(whole, tmp_path):
    """Split over eight devices, and then continued on one."""
    run = tmp_path / "split"
    assert "finished 24" in finish(start_toy(run, 4, "--fsdp", 2, "--model", 2, devices=8))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4, rtol=1e-4), last_model(run), last_model(whole)
    )
    assert [line["step"] for line in lines(run)] == [line["step"] for line in lines(whole) if line["split"] != "test"]
    assert train_toy(toy_config(run, **{"loop.epochs": 5})).step == 5 * STEPS_PER_EPOCH


def test_a_stage_that_loses_patience_ends_early_and_stays_so(tmp_path, capsys):
    """After two evaluations without a better one; the best checkpoint is tested, by who starts it again as well."""
    targets = itertools.count(1)

    def worse():
        return [{"x": batch(10_000)["x"], "y": np.full(ROWS, 10.0 * next(targets), np.float32)}]

    config = toy_config(tmp_path, patience=2)
    first = train_toy(config, validation=worse, test=lambda: [batch(20_000)])
    assert (first.step, first.finished, first.best["step"]) == (3 * STEPS_PER_EPOCH, True, STEPS_PER_EPOCH)
    assert "training ends at step 18: 2 evaluations since step 6 found no better error" in capsys.readouterr().err
    again = train_toy(config, validation=worse, test=lambda: [batch(20_000)])
    assert (again.step, again.finished, again.test) == (first.step, True, first.test)
    assert steps(tmp_path) == [6, 12, 18] and next(targets) == 4  # nothing was evaluated anew


def test_changed_configuration_is_refused_and_leaves_the_run(whole):
    before = (whole / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match=r"started with optimizer\.learning_rate = 0\.05 .* 0\.1"):
        train_toy(toy_config(whole, **{"optimizer.learning_rate": 0.1}))
    assert (whole / "metrics.jsonl").read_bytes() == before


def test_complete_run_is_not_trained_again(whole, capsys):
    before = last_model(whole)
    result = train_toy(toy_config(whole))
    assert result.finished and "is complete at step 24" in capsys.readouterr().err
    jax.tree.map(np.testing.assert_array_equal, before, last_model(whole))


def test_rows_that_do_not_fit_the_mesh_are_refused(tmp_path):
    process = start_toy(tmp_path / "run", 1, devices=3)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0 and "batch_rows 8 cannot be divided over 3 devices" in output
