"""The launcher of several processes: what it refuses, and that it passes failures on.

That what it starts trains what one process trains is tested beside the loop (test_several_hosts.py).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    assert done.stderr.startswith("launch/local.sh [--dry-run] PROCESSES CONFIG")
