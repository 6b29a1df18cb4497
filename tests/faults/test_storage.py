"""Training on storage that fails: one sentence, the right exit code, an end in bounded time, nothing lost."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
from small_disk import fill
from toy_stage import toy_config, train_toy

from labram_jax.checkpoints.models import load_model

SCRIPT = Path(__file__).parents[1] / "toy_stage.py"


def toy(run: Path, *arguments) -> tuple[int, str]:
    """Exit code and output of a training in a process of its own."""
    process = start_toy(run, *arguments)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def start_toy(run: Path, *arguments) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(run), *map(str, arguments)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_disk_that_becomes_full_and_is_cleared_costs_no_step(disk, tmp_path):
    run = disk / "run"
    other = fill(disk, leave=300_000)  # room for one checkpoint of 160 kB
    code, output = toy(run, 4)
    assert code == 1, output
    assert "could not be written: No space left on device" in output
    assert len(output.splitlines()) < 100, output
    other.unlink()
    code, output = toy(run, 4)
    assert code == 0 and ("resuming from step" in output or "is complete" in output), output
    train_toy(toy_config(tmp_path / "whole"))
    ended = [load_model(run / "checkpoints" / "24")[0] for run in (run, tmp_path / "whole")]
    jax.tree.map(np.testing.assert_array_equal, *ended)


def test_a_disk_without_a_block_left_ends_the_training_soon(disk):
    """Not even the log can be written."""
    run = disk / "run"
    process = start_toy(run, 40, "--slow", 0.05)
    deadline = time.monotonic() + 100
    while not (run / "checkpoints" / "6").is_dir():
        assert process.poll() is None and time.monotonic() < deadline, process.stdout.read()
        time.sleep(0.02)
    other = fill(disk, leave=0)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "No space left on device" in output and len(output.splitlines()) < 100, output
    other.unlink()
    code, output = toy(run, 4)
    assert code == 0, output
