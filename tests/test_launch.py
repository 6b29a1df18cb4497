"""The launcher: several processes on loopback train what one process trains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from labram_jax.training.distributed import COORDINATOR, PROCESS, PROCESSES

ROOT = Path(__file__).parents[1]
LAUNCHER = ROOT / "launch" / "local.sh"


def write_config(folder: Path, run: Path, corpus: Path) -> Path:
    file = folder / f"{run.name}.py"
    file.write_text(
        "from pathlib import Path\n"
        "from small_runs import tokenizer_config\n"
        f"config = tokenizer_config(Path({str(run)!r}), [Path({str(corpus)!r})], **{{'loop.epochs': 1.0}})\n"
    )
    return file


def launch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "tests"),
        "LABRAM_JAX": str(Path(sys.executable).with_name("labram-jax")),
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.run(
        [str(LAUNCHER), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines]


def test_two_processes_train_what_one_trains(tmp_path, corpus):
    for processes in ("1", "2"):
        config = write_config(tmp_path, tmp_path / f"run-{processes}", corpus.path)
        done = launch([processes, str(config)], tmp_path)
        assert done.returncode == 0, done.stderr
    alone, together = losses(tmp_path / "run-1"), losses(tmp_path / "run-2")
    assert len(alone) > 1
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_a_failing_process_ends_the_job(tmp_path):
    done = launch(["2", "no_such_configuration"], tmp_path)
    assert done.returncode == 2
    assert "There is no configuration 'no_such_configuration'" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["two", "tokenizer"], ["2"]])
def test_usage(tmp_path, arguments):
    done = launch(arguments, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("launch/local.sh PROCESSES CONFIG")


def test_half_a_job_description_is_refused(monkeypatch):
    from labram_jax.errors import InputError
    from labram_jax.training import distributed

    monkeypatch.setenv(COORDINATOR, "127.0.0.1:1")
    monkeypatch.setenv(PROCESSES, "2")
    monkeypatch.delenv(PROCESS, raising=False)
    with pytest.raises(InputError, match=f"not {PROCESS}"):
        distributed.join()
