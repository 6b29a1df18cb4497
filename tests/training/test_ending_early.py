"""Processes that are asked to stop, or get stuck: they end within a time, wherever they are."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "toy_stage.py"


class Toy:
    """A toy training in a process of its own, whose reader may get stuck before a step."""

    def __init__(self, run: Path, *arguments):
        self.run = run
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(run), "4", *map(str, arguments)],
            env=os.environ | {"JAX_PLATFORMS": "cpu"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_for(self, condition) -> None:
        deadline = time.monotonic() + 100
        while not condition():
            assert self.process.poll() is None and time.monotonic() < deadline, self.process.stdout.read()
            time.sleep(0.02)

    def signal(self, number: int) -> float:
        self.process.send_signal(number)
        return time.monotonic()

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=100)
        return self.process.returncode, output

    def steps(self) -> list[int]:
        return sorted(int(path.name) for path in (self.run / "checkpoints").glob("*") if path.name.isdigit())


def test_before_the_first_step_a_process_ends_at_once(tmp_path):
    toy = Toy(tmp_path / "run", "--stuck", 0)
    toy.wait_for((toy.run / "config.json").is_file)
    begin = toy.signal(signal.SIGTERM)
    code, output = toy.end()
    assert time.monotonic() - begin < 10 and code == 75
    assert "stopped as asked, while nothing was at stake" in output and "Traceback" not in output


def test_a_checkpoint_that_cannot_come_in_time_is_not_waited_for(tmp_path):
    toy = Toy(tmp_path / "run", "--stuck", 10, "--loop", "stop_seconds=1")
    toy.wait_for(lambda: toy.steps() == [6])
    begin = toy.signal(signal.SIGINT)
    code, output = toy.end()
    assert time.monotonic() - begin < 15 and code == 75 and toy.steps() == [6]
    assert "stopped as asked, no checkpoint within 1 s" in output


def test_a_process_that_is_stuck_says_where(tmp_path):
    code, output = Toy(tmp_path / "run", "--stuck", 0, "--loop", "watchdog_minutes=0.1").end()
    assert code == 1 and "no step within 0.1 minutes" in output and "in from_step" in output and "in _watch" in output
