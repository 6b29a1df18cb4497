"""A build that is killed at a change of the file system ends, by the same command, with the same bytes."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EVERY = 11
"""Which kills are made here; `python -m tests.faults.killed_builds` makes all."""


def test_killed_builds():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.killed_builds", "--every", str(EVERY)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    for name, found in json.loads(done.stdout).items():
        kills = len(range(1, found.pop("operations") + 1, EVERY))
        assert found["same bytes"] >= kills - 1, name
        # A kill after the corpus has its name leaves nothing to do.
        assert found["same bytes"] + found.get("whole already, and said so", 0) == kills > 4, name
