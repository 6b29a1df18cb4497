"""Two processes with four devices each train what one does, stop and go on together, and end together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from golden_data import QUICK_FLAGS
from small_runs import finetuning_config

from labram_jax.checkpoints.models import load_model
from labram_jax.runs import train
from labram_jax.training.metricslog import read_metrics

TESTS = Path(__file__).parents[1]
LAUNCHER = TESTS.parent / "launch" / "local.sh"
CONFIGURATION = """from small_runs import finetuning_config

config = finetuning_config({run!r}, [{corpus!r}], **{changes!r})
"""
# With a large epsilon the first updates do not blow rounding up: AdamW's are the gradients' signs otherwise.
CHANGES = {"data.batch_rows": 8, "loop.epochs": 2, "optimizer.epsilon": 1e-3}
MESH = {"mesh.data": 4, "mesh.fsdp": 2}
EVALUATED = 2 * 12  # windows of a split that is not trained on, of both montages


def environment(devices: int, **more: str) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK_FLAGS}",
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        **more,
    }


class Pair:
    """A run of two processes, started with the launcher as often as a test says."""

    def __init__(self, folder: Path, corpus: Path):
        self.folder, self.run = folder, folder / "run"
        (folder / "mine.py").write_text(
            CONFIGURATION.format(run="elsewhere", corpus=str(corpus), changes=CHANGES | MESH)
        )
        self.command = folder / "labram-jax"
        self.command.write_text(f'#!/bin/sh\nexec {sys.executable} {TESTS}/training/host.py notes "$@"\n')
        self.command.chmod(0o755)

    def start(self, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(LAUNCHER), "2", "mine.py", "--run", str(self.run)],
            cwd=self.folder,
            env=environment(4, LABRAM_JAX=str(self.command), **more),
            capture_output=True,
            text=True,
            timeout=300,
        )

    @property
    def steps(self) -> list[int]:
        return sorted(int(path.name) for path in (self.run / "checkpoints").glob("*") if path.name.isdigit())

    def notes(self) -> list[list[dict]]:
        """Batches that each process read since the last time."""
        files = [self.folder / f"notes-{process}.jsonl" for process in range(2)]
        read = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
        for file in files:
            file.unlink()
        return read


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus) -> Path:
    """What one process with one device makes of the same configuration."""
    run = tmp_path_factory.mktemp("hosts") / "whole"
    assert train(finetuning_config(run, [corpus.path], **CHANGES)).finished
    return run


def test_two_processes_train_stop_and_go_on_like_one(tmp_path, corpus, whole):
    pair = Pair(tmp_path, corpus.path)
    stopped = pair.start(STOP_AT="3")  # the notice reaches the second process alone, with a batch read ahead
    assert stopped.returncode == 75, stopped.stderr
    (step,), total = pair.steps, read_metrics(whole)[-1]["step"]
    assert 2 <= step < total and f"run {pair.run}: stopped at step {step}" in stopped.stdout
    assert_disjoint(pair.notes())

    done = pair.start()
    assert done.returncode == 0, done.stderr
    assert f"resuming from step {step} of {total} in {pair.run}" in done.stderr
    assert f"run {pair.run}: complete at step {total}" in done.stdout
    assert "step" not in (tmp_path / "process-1.log").read_text()  # one writer
    assert_disjoint(pair.notes())
    assert_same(pair.run, whole)


def assert_disjoint(notes: list[list[dict]]) -> None:
    """The processes read different windows of every batch, and as many batches; a split's windows are read once.

    Only a batch in which one epoch ends and the next begins may hold a window twice.
    """
    halves = [[set(batch["windows"]) for batch in batches if batch["training"]] for batches in notes]
    assert all(first and second for first, second in zip(*halves, strict=True))
    shared = [number for number, (first, second) in enumerate(zip(*halves, strict=True)) if first & second]
    assert len(shared) <= len(halves[0]) / 10 + 1, f"both read the same windows of the batches {shared}"
    passes = [[batch["windows"] for batch in batches if not batch["training"]] for batches in notes]
    assert len(passes[0]) == len(passes[1])
    windows = [window for half in passes for batch in half for window in batch]
    assert len(windows) % EVALUATED == 0 and set(windows) == (set(range(EVALUATED)) if windows else set())


def assert_same(run: Path, whole: Path) -> None:
    """Scores and parameters; what differs is the order in which float32 numbers are added up."""
    for split in ("validation", "test"):
        mine, other = ([line for line in read_metrics(where) if line["split"] == split] for where in (run, whole))
        assert [line["step"] for line in mine] == [line["step"] for line in other] != []
        np.testing.assert_allclose([line["loss"] for line in mine], [line["loss"] for line in other], rtol=1e-5)
    mine, other = (load_model(where)[0] for where in (run, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), mine, other)
