"""Damaged checkpoints end in one sentence or in a whole model: never in a crash, a hang, or other shapes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from golden_data import FOLDER

COUNT = 150
"""Mutations of each file here; `python tests/convert/mutations.py FILE 2000 20261123` tries as many as wanted."""
SEED = 20261123


@pytest.mark.parametrize("name", ["labram.pth", "vqnsp.pth"])
def test_random_damage(name):
    """In a process of its own, whose memory can be measured."""
    script = Path(__file__).parent / "mutations.py"
    result = subprocess.run(
        [sys.executable, str(script), str(FOLDER / name), str(COUNT), str(SEED)],
        env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    outcome = json.loads(result.stdout)
    assert outcome["refused"] + outcome["imported"] + outcome["resealed and imported"] == COUNT
    assert outcome["refused"] > COUNT / 2 and outcome["imported"] > 0
    assert outcome["slowest_seconds"] < 5 and (outcome["peak_bytes"] or 0) < 1e9
