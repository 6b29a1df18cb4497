"""What is damaged of models: runs, exported and foreign ones, kept codes; the commands that read them, and results.

Every array of a checkpoint has a digest. So a damaged run or exported model gives what the whole one does, or a
sentence; where `best.json` was changed to name another checkpoint that is there, what that one gives.
"""

import contextlib
import io
import os
import pickle
import shutil
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.core import meta
from foreign_folders import braindecode_folder
from small_runs import finetuning_config, tokenizer_config, write_corpus

from labram_jax import cli, runs
from labram_jax.checkpoints.files import AUDIT
from labram_jax.checkpoints.models import save_model
from labram_jax.config import FinetuningStageConfig, replace
from labram_jax.configfile import to_dict
from labram_jax.convert.exporting import write_official
from labram_jax.data.codes import codes_of
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import BatchReader
from labram_jax.errors import InputError
from labram_jax.evaluation.findings import AS_THEY_ARE, Audit, Found, Share, leave
from labram_jax.evaluation.tokenize import tokenize
from labram_jax.evaluation.variance import FACTORS
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.tables import Interval
from tests.faults.ends import arrays, saved

SPLITS = {"train": 8, "validation": 2, "test": 2}
# Three checkpoints, and few steps to the end once it goes on.
RUN = {"loop.save_every_steps": 1, "loop.epochs": 1.0, "data.batch_rows": 2}
LONGER = 1.5
CONFIGURATION = """from small_runs import finetuning_config

config = finetuning_config('', [{corpus!r}], **{changes!r})
"""
MOST_LINES = 20


class WrongResult(Exception):
    """A damaged model was read without a word, and gave something else."""


@dataclass(frozen=True)
class Reading:
    """A command that reads a file or folder called `name`, given a copy of it and a free path; returns its result."""

    name: str
    read: Callable[[Path, Path], Any]
    exact: bool = True  # whether the result of a damaged one must be that of a whole one


def command(*arguments: object) -> str:
    """What `labram-jax` prints; raises InputError with the one sentence that it ends with, if it fails."""
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        code = cli.main([str(argument) for argument in arguments])
    lines = said.getvalue().splitlines()
    if len(lines) > MOST_LINES or "Traceback" in said.getvalue():
        raise RuntimeError(f"it said {len(lines)} lines:\n{said.getvalue()[-2000:]}")
    if code:
        raise InputError(lines[-1])
    return out.getvalue()


def embedded(model: Path, corpus: Path, out: Path) -> dict[str, bytes]:
    command("embed", model, corpus, out)
    with np.load(out) as found:
        return {name: found[name].tobytes() for name in found}


def gone_on(file: Path, run: Path) -> dict[str, bytes]:
    command("train", file, "--run", run)
    last = run / "checkpoints" / str(saved(run)[-1])
    return {name: array.tobytes() for name, array in arrays(last).items()}


def labelled(corpus: Path) -> list[bytes]:
    """The codes in all batches of an epoch, as pretraining with kept codes reads them."""
    opened = Corpus.open(corpus)
    reader = BatchReader(tokenizer_config(Path(), [corpus]).data, [opened], 0, True, range(4))
    batches = reader.with_codes(codes_of(opened)).training(0)
    return [next(batches)["codes"].tobytes() for _ in range(reader.steps_per_epoch)]


def readings(fixed: Path) -> dict[str, Reading]:
    corpus, file = fixed / "corpus", fixed / "longer.py"
    return {
        "run: inspect": Reading("run", lambda run, _: command("inspect", run)),
        "run: evaluate": Reading("run", lambda run, _: command("evaluate", run, corpus, "--no-baseline")),
        "run: embed": Reading("run", lambda run, out: embedded(run, corpus, out)),
        "run: train": Reading("run", lambda run, _: gone_on(file, run)),
        "run: report": Reading("run", lambda run, _: command("report", run), exact=False),
        "exported: inspect": Reading("exported", lambda model, _: command("inspect", model)),
        "exported: embed": Reading("exported", lambda model, out: embedded(model, corpus, out)),
        # Neither safetensors nor what lies beside them have digests.
        "safetensors": Reading("a.safetensors", lambda model, out: command("convert", model, out), exact=False),
        "braindecode": Reading("braindecode", lambda model, out: command("convert", model, out), exact=False),
        "codes": Reading("labelled", lambda own, _: labelled(own)),
    }


MODELS = tuple(readings(Path()))
QUICK = ("exported: inspect", "safetensors")


def read(reading: Reading, place: Path, scratch: Path) -> Any:
    """The result of reading a copy, whose path is always the same."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    copy, source = scratch / reading.name, place / reading.name
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copy)
    return reading.read(copy, scratch / "out")


def checked(name: str, fixed: Path) -> Callable[[Path], None]:
    """Reads what lies in a folder and compares."""

    def check(place: Path) -> None:
        reading = readings(fixed)[name]
        result = read(reading, place, fixed / "scratch")
        if reading.exact and result not in pickle.loads((fixed / "expected").read_bytes())[name]:
            raise WrongResult(f"{name}: {str(result)[:2000]}")

    return check


def make(root: Path, fixed: Path, names: Sequence[str]) -> Iterable[tuple[str, list[Path], Callable[[Path], None]]]:
    """(name, files, how they are read) of what is asked for, written in processes of their own by way of `fixed`."""
    chosen = {name: reading for name, reading in readings(fixed).items() if name in names}
    if not chosen:
        return
    fixed.mkdir()
    wanted = {reading.name for reading in chosen.values()}
    apart(lambda: _write(root, fixed, wanted))
    apart(lambda: _expect(root, fixed, chosen))
    for name, reading in chosen.items():
        source = root / reading.name
        files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
        if name == "codes":
            files = [path for path in files if "codes" in path.parts]
        elif name == "run: report":
            files = [path for path in files if path.parent == source]  # the others are read as `inspect` reads them
        yield name, files, checked(name, fixed)


def apart(work: Callable[[], None]) -> None:
    """Works in a forked process: this one may fork again, and so must not start the threads of a device."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("what is to be damaged could not be made")


def _write(root: Path, fixed: Path, wanted: set[str]) -> None:
    corpus = write_corpus(fixed / "corpus", splits=SPLITS)
    config = finetuning_config(root / "run", [corpus.path], **RUN)
    model = replace(config.model, outputs=1, classes=corpus.classes)
    variables = drawn(replace(config, model=model))
    if "exported" in wanted:
        save_model(root / "exported", variables, to_dict(model))
    if "a.safetensors" in wanted:
        write_official(root / "a.safetensors", variables, model)
    if "braindecode" in wanted:
        braindecode_folder(root / "braindecode")
    if "run" in wanted:
        runs.train(config)
        changes = RUN | {"loop.epochs": LONGER}
        (fixed / "longer.py").write_text(CONFIGURATION.format(corpus=str(corpus.path), changes=changes))
        command("evaluate", root / "run", corpus.path)  # leaves scores and predictions
        leave(root / "run" / AUDIT, corpus.name, made_audit())
    if "labelled" in wanted:
        labelled = write_corpus(root / "labelled", splits={"train": 8})
        tokenizer = tokenizer_config(fixed / "tokenizer", [labelled.path], **{"loop.epochs": 0.5})
        runs.train(replace(tokenizer, **{"codebook.bypass_epochs": 0}))
        tokenize(fixed / "tokenizer", labelled.path)


def made_audit() -> Audit:
    """An audit as one would leave it."""
    variance, score = {factor: Share(0.25, 0.125) for factor in FACTORS}, {AS_THEY_ARE: {"auroc": 0.75}}
    found = Found(
        {"test": variance}, {"test": 0.25}, 2, 8, 0.9, 0.5, score, {AS_THEY_ARE: {"auroc": Interval(0.5, 1.0)}}
    )
    return Audit(
        "an encoder", {"mean": found}, {"test": "12 windows"}, True, 3, {"auroc": 0.5}, ("auroc",), ("a note",)
    )


def drawn(config: FinetuningStageConfig) -> dict:
    """Variables of any values: drawing them is faster than compiling the initialisation."""
    shapes = meta.unbox(jax.eval_shape(FinetuningStage(config, None).init, jax.random.key(0)))
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: generator.normal(scale=0.02, size=leaf.shape).astype(np.float32), shapes)


def _expect(root: Path, fixed: Path, chosen: dict[str, Reading]) -> None:
    """Keeps the results of the whole files, those of a run with each checkpoint as the best one."""
    expected = {name: [read(reading, root, fixed / "scratch")] for name, reading in chosen.items() if reading.exact}
    best = root / "run" / "best.json"
    if best.exists():
        own = best.read_text()
        for step in saved(root / "run"):
            best.write_text(f'{{"step": {step}}}')
            for name in expected.keys() & {"run: inspect", "run: evaluate", "run: embed"}:
                expected[name].append(read(chosen[name], root, fixed / "scratch"))
        best.write_text(own)
    (fixed / "expected").write_bytes(pickle.dumps(expected))
