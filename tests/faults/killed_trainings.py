"""Kills trainings at random moments, gives their command again, and compares the end with that of unbroken ones.

    python -m tests.faults.killed_trainings                          60 kills over the three stages
    python -m tests.faults.killed_trainings --kills 6 --stages toy   of a stage that trains in a second

The moment of kill n is a function of (seed, n): some time after the start (while it compiles, restores, trains,
evaluates), after the first line that this start logged, or while a checkpoint is being written. A run that ends before
its moment is compared, and another one begins, until there were as many kills as asked for; the last one is finished.
What must be equal to the bit: every array of the last checkpoint (parameters, codebook, moments), the log but for its
clocks, and `best.json`. Prints what happened as JSON; exit 1 where a run did not end as the unbroken one.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from small_runs import write_corpus  # noqa: E402
from toy_stage import toy_config, train_toy  # noqa: E402

from labram_jax import cli, runs  # noqa: E402, F401 - imported here, so that no process need import it anew
from labram_jax.progress import track  # noqa: E402
from tests.faults.ends import being_written, differences, saved  # noqa: E402

STAGES = ("tokenizer", "pretraining", "finetuning")
TOY = "toy"
SPLITS = {"train": 24, "validation": 6, "test": 6}
# A checkpoint after every second step: saving takes about as long as training, and is met as often.
FREQUENT = {"loop.save_every_steps": 2, "loop.keep": 2, "loop.log_every": 3}
CONFIGURATION = "from small_runs import {stage}_config\n\nconfig = {stage}_config('', {given}, **{changes!r})\n"
SECONDS = 300


@dataclass(frozen=True)
class Trained:
    """A command that trains in a run's directory, and what an unbroken call of it left."""

    name: str
    command: Callable[[Path], int]
    run: Path
    seconds: float


def start(command: Callable[[Path], int], run: Path) -> int:
    """Runs a command in a forked process, whose number is returned; what it says goes to a file beside the run."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            said = os.open(said_by(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(said, stream)
            code = command(run)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def said_by(run: Path) -> Path:
    return run.with_name(f"{run.name}.said")


def ended(child: int, wait: bool = False) -> int | None:
    """The exit code of a process, minus the signal that ended it, or None if it runs."""
    number, status = os.waitpid(child, 0 if wait else os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if number else None


def finish(command: Callable[[Path], int], run: Path) -> float:
    """Runs a command to its end; returns the seconds that it took."""
    began = time.monotonic()
    code = ended(start(command, run), wait=True)
    if code != 0:
        raise RuntimeError(f"ended with {code}:\n{said_by(run).read_text()[-3000:]}")
    return time.monotonic() - began


def commands(root: Path, stages: Sequence[str]) -> Iterator[Trained]:
    """Trains each stage once, unbroken, which also keeps what is compiled."""
    if TOY in stages:
        yield _trained(
            root, TOY, lambda run: not train_toy(toy_config(run, **FREQUENT), reading={"slow": 0.02}).finished
        )
    if not set(STAGES) & set(stages):
        return
    corpora = [str(write_corpus(root / "corpus", splits=SPLITS).path)]
    before: list[Path] = []
    for stage in STAGES:
        file = root / f"{stage}.py"
        given = ", ".join([repr(corpora), *(repr(str(run)) for run in before[-1:])])
        file.write_text(CONFIGURATION.format(stage=stage, given=given, changes=FREQUENT))
        made = _trained(root, stage, lambda run, file=file: cli.main(["train", str(file), "--run", str(run)]))
        before.append(made.run)
        if stage in stages:
            yield made


def _trained(root: Path, name: str, command: Callable[[Path], int]) -> Trained:
    run = root / name / "unbroken"
    run.parent.mkdir()
    finish(command, run)
    shutil.rmtree(run)
    return Trained(name, command, run, finish(command, run))  # by the clock of those that compile nothing


def moment(trained: Trained, run: Path, generator: np.random.Generator) -> Callable[[], bool]:
    """Asks, again and again, whether it is time to kill."""
    began, log = time.time(), run / "metrics.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    kind = generator.choice(["start", "log", "saving"])
    pause = generator.uniform(0, {"start": trained.seconds, "log": trained.seconds / 5, "saving": 0.05}[kind])
    skipped = int(generator.integers(4))  # checkpoints that are let through
    seen: set[str] = set()
    since = began if kind == "start" else None

    def come() -> bool:
        nonlocal since
        if since is None and kind == "log" and log.exists() and log.stat().st_mtime_ns != before:
            since = time.time()
        if since is None and kind == "saving":
            seen.update(being_written(run, began))
            since = time.time() if len(seen) > skipped else None
        return since is not None and time.time() >= since + pause

    return come


def killed(trained: Trained, run: Path, generator: np.random.Generator) -> str | None:
    """Starts a training and kills it; returns where that was, or None if it ended well before."""
    finished = run / "checkpoints" / str(saved(trained.run)[-1])
    began, come = time.time(), moment(trained, run, generator)
    child = start(trained.command, run)
    while not come():
        code = ended(child)
        if code is not None:
            if code != 0:
                raise RuntimeError(f"{trained.name} ended with {code}:\n{said_by(run).read_text()[-3000:]}")
            return None
        if time.time() > began + SECONDS:
            os.kill(child, signal.SIGKILL)
            raise RuntimeError(f"{trained.name} hangs:\n{said_by(run).read_text()[-3000:]}")
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    if ended(child, wait=True) != -signal.SIGKILL:
        return None
    if being_written(run, began):
        return "while saving"
    if not saved(run):
        return "before the first checkpoint"
    return "after the last checkpoint" if finished.is_dir() else "between checkpoints"


def main(kills: int, seed: int, stages: Sequence[str]) -> dict:
    """Spreads the kills evenly over the stages."""
    counts: dict[str, Counter] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        ends: list[tuple[Trained, Path]] = []
        for place, trained in enumerate(commands(root, stages)):
            counts[trained.name] = Counter()
            own = kill_and_finish(trained, range(place, kills, len(stages)), seed, counts[trained.name])
            ends += [(trained, run) for run in own]
        # Only now, since this process must hold no device while it forks.
        for trained, run in ends:
            found = differences(run, trained.run)
            counts[trained.name]["equal" if not found else "unequal"] += 1
            if found:
                print(f"{trained.name} {run.name}: {', '.join(found)}", file=sys.stderr, flush=True)
    return {name: dict(own) for name, own in counts.items()}


def kill_and_finish(trained: Trained, numbers: Sequence[int], seed: int, count: Counter) -> list[Path]:
    """Makes some kills, and returns the runs that they were made in, all brought to their end."""
    made = [trained.run.with_name("run-0")]
    for number in track(numbers, f"kills of {trained.name}"):
        tries = 0
        while (where := killed(trained, made[-1], np.random.default_rng((seed, number, tries)))) is None:
            made.append(trained.run.with_name(f"run-{len(made)}"))
            tries += 1
        count["kills"] += 1
        count[where] += 1
    finish(trained.command, made[-1])
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stages", nargs="*", choices=(*STAGES, TOY), default=STAGES)
    found = main(**vars(parser.parse_args()))
    print(json.dumps(found, indent=1))
    sys.exit(any("unequal" in own for own in found.values()))
