"""Fine-tuning and embedding here and in braindecode (PyTorch): same weights and windows, step by step in turns.

    make bench-interop

Each side has a process and threads of its own and waits while the other works, so whatever else the machine does meets
both. What they compute from the first weights is compared before anything is timed.
"""

import dataclasses
import importlib
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal
from unittest.mock import MagicMock

import jax
import numpy as np
import tyro
from steps import EMBEDDED_WINDOWS, MONTAGES, Benchmark, random_batch, stage_of, training

from labram_jax import config as c
from labram_jax.inference import Classifier, Model
from labram_jax.montage import ELECTRODES
from labram_jax.parallel.sharding import make_mesh
from labram_jax.tables import text_table
from labram_jax.training.program import prepare
from labram_jax.weights import convert

StepName = Literal["finetuning", "embedding"]
# One step, and what the side computes from the first weights: logits, or features.
Side = tuple[Callable[[], object], np.ndarray]
TOLERANCE = 1e-4
# What braindecode imports and its Labram does not use.
UNUSED = (
    *("torchaudio", "torchaudio.functional", "torchaudio.transforms", "linear_attention_transformer", "wfdb"),
    *("mne_bids", "mne_bids.write"),
)


@dataclass(frozen=True)
class Comparison:
    """Times both sides, base size, float32."""

    steps: tuple[StepName, ...] = ("finetuning", "embedding")
    rows: int = 16
    """Windows of a training step; embedding takes four times as many."""
    turns: int = 10
    """Steps of each side after the first two, which do not count."""


@dataclass(frozen=True)
class Turn:
    """What one step took: seconds of wall clock and of processor, and the process' largest size so far in bytes."""

    wall: float
    processor: float
    peak: int


def main(comparison: Comparison) -> None:
    headers = ["step", "side", "wall s", "processor s", "peak GB", "ratio", "from", "to", "processor ratio"]
    rows = []
    for step in comparison.steps:
        ours, theirs = compare(step, comparison)
        for name, turns in (("labram_jax", ours), ("braindecode", theirs)):
            row = [step, name, *(float(np.median(values)) for values in seconds(turns)), turns[-1].peak / 1e9]
            if turns is ours:
                wall, processor = np.divide(seconds(ours), seconds(theirs))
                row += [float(f(wall)) for f in (np.median, np.min, np.max)] + [float(np.median(processor))]
            rows.append(row + [None] * (len(headers) - len(row)))
    print(text_table(headers, rows))


def seconds(turns: list[Turn]) -> tuple[list[float], list[float]]:
    """Wall clock and processor seconds of every turn."""
    return [turn.wall for turn in turns], [turn.processor for turn in turns]


def compare(step: StepName, comparison: Comparison) -> tuple[list[Turn], list[Turn]]:
    """Turns of this project and of braindecode; raises RuntimeError where they compute different things."""
    benchmark = Benchmark(rows=comparison.rows)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        classifier = first_classifier(benchmark)
        classifier.save(Path(folder) / "ours")
        _, length = MONTAGES[step]
        convert(Path(folder) / "ours", Path(folder) / "theirs", "braindecode", seconds=length)
        makers = (partial(OURS[step], benchmark, classifier), partial(THEIRS[step], benchmark, Path(folder) / "theirs"))
        sides = [processes.enter_context(worker(maker)) for maker in makers]
        ours, theirs = (side.recv() for side in sides)
        difference = float(np.abs(ours - theirs).max())
        if difference > TOLERANCE * max(1, np.abs(theirs).max()):
            raise RuntimeError(f"{step}: outputs of both sides differ by {difference}, so their times say nothing")
        turns: tuple[list[Turn], list[Turn]] = ([], [])
        for _ in range(2 + comparison.turns):
            for side, own in zip(sides, turns, strict=True):
                side.send("step")
                own.append(side.recv())
    return turns[0][2:], turns[1][2:]


@contextmanager
def worker(make: Callable[[], Side]):
    """The connection to a new process that makes a side, sends its outputs, and then takes a step when told to."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(there, make), daemon=True)
    process.start()
    there.close()
    yield here
    here.send("end")
    process.join()


def serve(connection: Connection, make: Callable[[], Side]) -> None:
    step, outputs = make()
    connection.send(outputs)
    while connection.recv() == "step":
        wall, processor = time.perf_counter(), time.process_time()
        step()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        unit = 1 if sys.platform == "darwin" else 1024
        connection.send(Turn(wall, processor, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit))


def first_classifier(benchmark: Benchmark) -> Classifier:
    """The weights from which both sides start: those of `steps.training`, which depend on the seed alone."""
    stage = stage_of("finetuning", benchmark, c.ComputeConfig())
    state = prepare(stage, make_mesh(c.MeshConfig()), 1000, 100).create_state()
    return Classifier(jax.device_get(state.variables), stage.config.model)


def microvolts(step: StepName, benchmark: Benchmark) -> np.ndarray:
    """The windows of a step as arrays [N, C, samples]."""
    electrodes, length = MONTAGES[step]
    times = EMBEDDED_WINDOWS if step == "embedding" else 1
    batch = random_batch("finetuning", dataclasses.replace(benchmark, rows=times * benchmark.rows))
    return batch["microvolts"].astype(np.float32).reshape(-1, electrodes, length * c.SAMPLE_RATE)


def our_finetuning(benchmark: Benchmark, classifier: Classifier) -> Side:
    step, _ = training("finetuning", benchmark, c.ComputeConfig())
    names = ELECTRODES[: MONTAGES["finetuning"][0]]
    return step, classifier.predict_logits(microvolts("finetuning", benchmark), names, sfreq=200)


def our_embedding(benchmark: Benchmark, classifier: Classifier) -> Side:
    eeg, names = microvolts("embedding", benchmark), ELECTRODES[: MONTAGES["embedding"][0]]
    features = partial(classifier.features, eeg, names, sfreq=200)
    return features, features()


def labram(folder: Path):
    """braindecode's Labram from a folder."""
    # The torchaudio that can be had does not load beside this torch.
    sys.modules.update({name: MagicMock(name=name) for name in UNUSED})
    return importlib.import_module("braindecode.models").Labram.from_pretrained(folder, strict=True)


def their_finetuning(benchmark: Benchmark, folder: Path) -> Side:
    """As the official loop: AdamW of PyTorch's default kind, the gradient clipped, cross-entropy of both classes."""
    torch = importlib.import_module("torch")
    options = c.OptimizerConfig()
    model, names = labram(folder), ELECTRODES[: MONTAGES["finetuning"][0]]
    eeg = torch.from_numpy(microvolts("finetuning", benchmark) / c.MICROVOLTS_PER_UNIT)
    labels = torch.from_numpy(random_batch("finetuning", benchmark)["labels"].astype(np.float32))
    with torch.no_grad():
        outputs = model.eval()(eeg, ch_names=names).numpy()
    model.train()
    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) is decays], "weight_decay": weight_decay}
        for decays, weight_decay in ((True, options.weight_decay), (False, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, options.learning_rate, options.betas, options.epsilon)

    def step() -> None:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(eeg, ch_names=names), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip_norm)
        optimizer.step()
        loss.item()

    return step, outputs


def their_embedding(benchmark: Benchmark, folder: Path) -> Side:
    torch = importlib.import_module("torch")
    model, names = labram(folder).eval(), ELECTRODES[: MONTAGES["embedding"][0]]
    model.reset_head(0)
    eeg = torch.from_numpy(microvolts("embedding", benchmark) / c.MICROVOLTS_PER_UNIT)

    def step() -> np.ndarray:
        with torch.no_grad():
            parts = [model(part, ch_names=names) for part in eeg.split(Model.batch_windows)]
        return torch.cat(parts).numpy()

    return step, step()


OURS = {"finetuning": our_finetuning, "embedding": our_embedding}
THEIRS = {"finetuning": their_finetuning, "embedding": their_embedding}

if __name__ == "__main__":
    main(tyro.cli(Comparison))
