"""Kills a build at its n-th change of the file system, gives the same command again, and compares the bytes.

    python -m tests.faults.killed_builds            every operation, of a fresh build and of one that overwrites
    python -m tests.faults.killed_builds --every 7  each seventh

The build runs in a forked process, whose audit hook counts what is created, written, renamed or removed in the folder
of the corpus and ends the process by SIGKILL before operation n. Prints what happened as JSON.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from labram_jax.data_prep.build import build
from labram_jax.data_prep.readers.reader import ArrayReader
from labram_jax.data_prep.recipe import Recipe
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of
from labram_jax.errors import InputError

RECIPE = Recipe(dtype="float32", filters=None, open=lambda path, part, unit: ArrayReader(np.load(path), NAMES, 200.0))
NAMES = ("C3", "C4")
CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link")
DIED, REFUSED = 9, 2


def recordings(folder: Path) -> CorpusTable:
    """Three short recordings, each a shard of its own."""
    folder.mkdir()
    rows = []
    for number in range(3):
        path = folder / f"{number}.npy"
        np.save(path, np.random.default_rng(number).normal(scale=20, size=(2, 1000)))
        rows.append(Span(path, path.stem, f"subject-{number}", "train"))
    return CorpusTable("small", rows_of(rows), Split("given"), RECIPE, window_seconds=2)


def count_changes(where: Path, at_change: Callable[[int], None]) -> None:
    """Calls `at_change` with 1, 2, ... before each change that this process makes below `where`."""
    counted = [0]

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        # shutil.rmtree names what it removes by a folder that it holds open.
        if (event in ("os.remove", "os.rmdir") and arguments[1] != -1) or str(path).startswith(str(where)):
            counted[0] += 1
            at_change(counted[0])

    sys.addaudithook(hook)


def in_a_process(work: Callable[[], None]) -> int:
    """Runs `work` in a forked process; returns 0, 2 for an InputError, or the number of the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
            code = 0
        except InputError:
            code = REFUSED
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def contents(folder: Path) -> dict[str, bytes] | None:
    if not folder.exists():
        return None
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def operations(table: CorpusTable, place: Path, overwrite: bool) -> int:
    """How many changes a build makes that nothing interrupts."""
    told = place.parent / "told"

    def work() -> None:
        count_changes(place, lambda number: os.write(log, b"."))
        build(table, place / "out", recordings_per_shard=1, overwrite=overwrite)

    log = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    assert in_a_process(work) == 0
    return told.stat().st_size


def killed(table: CorpusTable, place: Path, overwrite: bool, number: int, whole: dict, before: dict | None) -> str:
    """Kills a build at one change, gives its command again, and says how that ended."""
    out = place / "out"

    def work() -> None:
        def kill(now: int) -> None:
            if now == number:
                os.kill(os.getpid(), signal.SIGKILL)

        count_changes(place, kill)
        build(table, out, recordings_per_shard=1, overwrite=overwrite)

    if in_a_process(work) != DIED:
        return "not killed"
    left = contents(out)
    if left not in (whole, before) and (left is not None or contents(place / "out.partial" / "replaced") != before):
        return "lost"
    code = in_a_process(lambda: build(table, out, recordings_per_shard=1, overwrite=overwrite))
    if code and not (left == whole and code == REFUSED):
        return f"ended with {code}"
    if contents(out) != whole:
        return "other bytes"
    if {path.name for path in place.iterdir()} - {"out"} and not code:
        return "something left behind"
    return "whole already, and said so" if code else "same bytes"


def main(every: int, first: int = 1) -> dict[str, dict[str, int]]:
    ends = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        table = recordings(root / "recordings")
        old = replace(table, window_seconds=4)
        (root / "reference").mkdir()
        (root / "old").mkdir()
        build(table, root / "reference" / "out", recordings_per_shard=1)
        build(old, root / "old" / "out", recordings_per_shard=1)
        whole, before = contents(root / "reference" / "out"), contents(root / "old" / "out")
        for overwrite in (False, True):

            def fresh(name: str, overwrite: bool = overwrite) -> Path:
                place = root / name
                shutil.copytree(root / "old", place) if overwrite else place.mkdir()
                return place

            count = operations(table, fresh("counted"), overwrite)
            shutil.rmtree(root / "counted")
            found: Counter[str] = Counter(operations=count)
            for number in range(first, count + 1, every):
                place = fresh("killed")
                found[killed(table, place, overwrite, number, whole, before if overwrite else None)] += 1
                shutil.rmtree(place)
            ends["overwriting" if overwrite else "fresh"] = dict(found)
    return ends


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(main(options.every, options.first)))
