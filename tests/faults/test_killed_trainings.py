"""Trainings that are killed end, by the same command, with the same bits."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KILLS = 4
"""Kills here, of a small stage; `python -m tests.faults.killed_trainings` makes as many as wanted of the real ones."""


def test_killed_trainings():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed_trainings", "--stages", "toy", "--kills", str(KILLS)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)["toy"]
    assert found["kills"] == KILLS and found["while saving"] > 0 and found["equal"] > 0
