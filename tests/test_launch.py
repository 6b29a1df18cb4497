"""The launcher of several processes: what it refuses, and that it passes failures on.

That several processes train what one trains is tested with the loop.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labram_jax.training.distributed import COORDINATOR, PROCESS, PROCESSES

ROOT = Path(__file__).parents[1]
LAUNCHER = ROOT / "launch" / "local.sh"


def launch(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = os.environ | {
        "LABRAM_JAX": str(Path(sys.executable).with_name("labram-jax")),
        "JAX_PLATFORMS": "cpu",
    }
    return subprocess.run(
        [str(LAUNCHER), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=240
    )


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
