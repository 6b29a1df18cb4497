"""Damaged files of every format end in a sentence or in what they hold: no traceback, crash, hang or flood."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COUNT = 56
"""Mutations here; `python -m tests.faults.fuzz --count 10000` makes as many as wanted, also of runs and kept codes."""


def test_damaged_files():
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", "--quick", "--count", str(COUNT), "--seed", "20261125"],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    ends = json.loads(done.stdout)
    assert len(ends["formats"]) == 14 and ends["total"]["read"] + ends["total"]["refused"] == COUNT
    assert ends["total"]["refused"] > COUNT / 6
