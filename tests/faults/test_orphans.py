"""The processes of a build end with the one that began it, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def wait_until(true, seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    # One that nobody has waited for yet is a zombie: it is over.
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_no_worker_is_left_behind(tmp_path, number):
    command = [sys.executable, "-m", "tests.faults.sleeping_build", str(tmp_path)]
    build = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    assert all(map(runs, workers))
    build.send_signal(number)
    said = build.communicate(timeout=30)[1]
    assert build.returncode == (-number if number != signal.SIGINT else -signal.SIGINT)
    assert wait_until(lambda: not any(map(runs, workers)), 10)
    assert said.count("Traceback") <= 1, said
