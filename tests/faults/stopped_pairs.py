"""Stops trainings of two processes by SIGTERM, gives their command again, and compares the end with an unbroken one.

    python -m tests.faults.stopped_pairs --stops 10

Where stop n comes is a function of (seed, n): while the step is compiled, between steps, while a checkpoint is being
written, or in an evaluation; the notice goes to one of the two processes, or to both. Both must end with 75 each time.
A run that ends before its moment is compared, and another one begins; the last one is finished. What must be equal to
the bit: see `ends`. Prints as JSON how many stops came where, and the most seconds that one took; exit 1 where a
process ended otherwise, or a run not as the unbroken one.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
sys.path[:0] = [str(ROOT), str(TESTS)]

from small_runs import write_corpus  # noqa: E402

from labram_jax.errors import STOPPED  # noqa: E402
from labram_jax.parallel.processes import COORDINATOR, PROCESS, PROCESSES  # noqa: E402
from labram_jax.progress import track  # noqa: E402
from tests.faults.ends import being_written, differences  # noqa: E402

SPLITS = {"train": 24, "validation": 24, "test": 24}
CHANGES = {"loop.save_every_steps": 3, "loop.keep": 2, "loop.epochs": 2.0}
PLACES = ("compiling", "stepping", "saving", "evaluating", "evaluating")
PAUSE = 0.15  # seconds between batches: a notice takes about one to get around
SECONDS = 300


class Pair:
    """Two processes that train in one directory."""

    def __init__(self, folder: Path, run: str):
        self.folder, self.run = folder, folder / run
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        self.began = time.time()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            coordinator = f"127.0.0.1:{free.getsockname()[1]}"
        for number in range(2):
            self.notes(number).unlink(missing_ok=True)
        self._processes = [
            subprocess.Popen(
                [sys.executable, TESTS / "training" / "host.py", "notes", "train", "mine.py", "--run", str(self.run)],
                cwd=self.folder,
                env=environment(self.folder) | {COORDINATOR: coordinator, PROCESSES: "2", PROCESS: str(number)},
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            for number in range(2)
            for said in [self.said(number).open("wb")]
        ]

    def said(self, number: int) -> Path:
        return self.folder / f"{self.run.name}-{number}.said"

    def notes(self, number: int) -> Path:
        return self.folder / f"notes-{number}.jsonl"

    def batches(self, training: bool) -> int:
        """How many batches of training or of evaluation the first process has read since its start."""
        with contextlib.suppress(FileNotFoundError):
            return self.notes(0).read_text().count(f'"training": {json.dumps(training)}')
        return 0

    def runs(self) -> bool:
        return all(process.poll() is None for process in self._processes)

    def stop(self, which: tuple[int, ...]) -> None:
        for number in which:
            self._processes[number].send_signal(signal.SIGTERM)

    def codes(self) -> list[int]:
        """How both ended."""
        try:
            return [process.wait(timeout=SECONDS) for process in self._processes]
        except subprocess.TimeoutExpired:
            for process in self._processes:
                process.kill()
            raise

    def output(self) -> str:
        return "\n".join(self.said(number).read_text(errors="replace")[-1500:] for number in range(2))


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": f"{TESTS}:{ROOT}",
        "PAUSE": str(PAUSE),
    }


def moment(pair: Pair, generator: np.random.Generator, place: str) -> Callable[[], bool]:
    """Asks, again and again, whether it is time for the notice."""
    pause = generator.uniform(0, {"compiling": 1.0, "saving": 0.05}.get(place, 2 * PAUSE))
    number = int(generator.integers(1, 6))
    config = pair.run / "config.json"
    since = None

    def there() -> bool:
        if place == "compiling":  # the configuration is written before the first step is compiled
            return config.exists() and config.stat().st_ctime > pair.began
        if place == "stepping":
            return pair.batches(training=True) >= number
        if place == "saving":
            return bool(being_written(pair.run, pair.began))
        return pair.batches(training=False) >= number

    def come() -> bool:
        nonlocal since
        since = time.time() if since is None and there() else since
        return since is not None and time.time() >= since + pause

    return come


def stopped(pair: Pair, generator: np.random.Generator, place: str) -> float | None:
    """Starts a pair and stops it; returns how many seconds that took, or None if it had ended before."""
    which = [(0,), (1,), (0, 1)][generator.integers(3)]
    pair.start()
    come = moment(pair, generator, place)
    while not come():
        if not pair.runs():
            break
        if time.time() > pair.began + SECONDS:
            pair.stop((0, 1))
            raise RuntimeError(f"hangs:\n{pair.output()}")
        time.sleep(0.01)
    pair.stop(which)
    sent = time.time()
    codes = pair.codes()
    if codes == [0, 0]:
        return None
    if codes != [STOPPED, STOPPED]:
        raise RuntimeError(f"ended with {codes} after a notice to {which} while {place}:\n{pair.output()}")
    return time.time() - sent


def finish(pair: Pair) -> None:
    pair.start()
    codes = pair.codes()
    if codes != [0, 0]:
        raise RuntimeError(f"ended with {codes}:\n{pair.output()}")


def main(stops: int, seed: int) -> dict:
    found: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        corpus = write_corpus(folder / "corpus", splits=SPLITS)
        (folder / "mine.py").write_text(
            "from small_runs import finetuning_config\n\n"
            f"config = finetuning_config('', [{str(corpus.path)!r}], **{CHANGES!r})\n"
        )
        whole, pairs = Pair(folder, "unbroken"), [Pair(folder, "run-0")]
        finish(whole)
        for number in track(range(stops), "stops"):
            place, tries = PLACES[number % len(PLACES)], 0
            while (seconds := stopped(pairs[-1], np.random.default_rng((seed, number, tries)), place)) is None:
                pairs.append(Pair(folder, f"run-{len(pairs)}"))
                tries += 1
            found[place] += 1
            slowest = max(slowest, seconds)
        finish(pairs[-1])
        for pair in pairs:
            other = differences(pair.run, whole.run, stopped=True)
            found["runs equal" if not other else "runs unequal"] += 1
            if other:
                print(f"{pair.run.name}: {', '.join(other)}", file=sys.stderr, flush=True)
    return {**found, "slowest_seconds": round(slowest, 1)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stops", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    ends = main(**vars(parser.parse_args()))
    print(json.dumps(ends))
    sys.exit("runs unequal" in ends)
