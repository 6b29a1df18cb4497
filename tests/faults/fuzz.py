"""Reads damaged files of every format, each in a process of its own, and counts how that ends.

    python -m tests.faults.fuzz --count 10000 --seed 1
    python -m tests.faults.fuzz --count 500 --formats edf eeglab
    python -m tests.faults.fuzz --count 56 --quick               without what needs a trained model

Mutation n of a format is a function of (seed, n) alone. Good ends are "read" and "refused" (one sentence); others are
told with the mutation's number and what was said: "no sentence", "traceback", "crash" (a signal), "hang" (10 s of
processor time), "memory" (2 GB more than the process began with), "wrong result" (of a model; see `model_subjects`).
Prints counts as JSON; exit 1 where any end is bad.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "data_prep")]

from labram_jax.errors import InputError  # noqa: E402
from labram_jax.progress import track  # noqa: E402
from tests.faults.damage import damaged  # noqa: E402
from tests.faults.model_subjects import MODELS, QUICK, WrongResult  # noqa: E402
from tests.faults.subjects import RECORDED, Subject, make_subjects  # noqa: E402

SECONDS, BYTES = 10, 2 << 30
ENDS = {0: "read", 2: "refused", 3: "no sentence", 4: "memory", 5: "traceback", 6: "wrong result"}
GOOD = ("read", "refused")


def read(subject: Subject, place: Path) -> tuple[int, str]:
    """Returns the number of the end and what was said."""
    try:
        subject.read(place)
    except InputError as error:
        text = str(error)
        if any(word in text for word in ("MemoryError", "Unable to allocate")):
            return 4, text
        return (2, text) if text.endswith(".") and "\n" not in text else (3, text)
    except MemoryError:
        return 4, traceback.format_exc()
    except WrongResult as error:
        return 6, str(error)
    except Exception:
        return 5, traceback.format_exc()
    return 0, ""


def end_of(subject: Subject, place: Path, said: Path) -> str:
    """Reads in a forked process, whose time and memory are limited; `said` gets what was said."""
    said.write_text("")
    child = os.fork()
    if child == 0:
        code = 5
        try:
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * resource.getpagesize() + BYTES
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            code, text = read(subject, place)
            said.write_text(text)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status):
        return ENDS[os.WEXITSTATUS(status)]
    return "hang" if os.WTERMSIG(status) == signal.SIGPROF else "crash"


def main(count: int, seed: int, formats: Sequence[str] = (), quick: bool = False) -> dict[str, dict]:
    """Spreads `count` mutations evenly over the formats; `quick` leaves out those that need a trained model."""
    counts: dict[str, Counter] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        (root / "whole").mkdir()
        chosen = list(formats) or [*RECORDED, *(QUICK if quick else MODELS)]
        subjects = make_subjects(root / "whole", chosen)
        for name in chosen:
            if subjects[name].apart:
                whole = end_of(subjects[name], root / "whole", root / "said")
                assert whole == "read", f"{name}: {whole}: {(root / 'said').read_text()}"
            else:
                subjects[name].read(root / "whole")  # and imports here what every process would import again
        shutil.copytree(root / "whole", root / "damaged")
        for number in track(range(count), "damaged files"):
            name = chosen[number % len(chosen)]
            subject = subjects[name]
            generator = np.random.default_rng((seed, number))
            file = subject.files[generator.integers(len(subject.files))]
            target = root / "damaged" / file.relative_to(root / "whole")
            target.write_bytes(damaged(file.read_bytes(), generator))
            end = end_of(subject, root / "damaged", root / "said")
            counts.setdefault(name, Counter())[end] += 1
            if end not in GOOD:
                text = (root / "said").read_text()
                print(f"{name} {number} {file.name}: {end}\n{text}", file=sys.stderr, flush=True)
            shutil.copyfile(file, target)
    total = sum(counts.values(), Counter())
    return {"formats": {name: dict(own) for name, own in counts.items()}, "total": dict(total)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", default=())
    parser.add_argument("--quick", action="store_true")
    ends = main(**vars(parser.parse_args()))
    print(json.dumps(ends, indent=1))
    sys.exit(any(end not in GOOD for end in ends["total"]))
