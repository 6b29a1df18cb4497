"""What the loop adds to a step: its wall clock for each step, less the time of the step on the device.

    python benchmarks/loop.py
    python benchmarks/loop.py --several 10

A tiny classifier on one device reads batches from memory, so that neither data nor the device are in the way. The
device's time is that of steps in one program, which returns to the host only at the end; "bare" are calls of the
training step alone, one after another, on a batch that is there already. All take turns. Processor seconds are those
of all threads together, and hardly feel what else the machine does.
"""

import contextlib
import dataclasses
import io
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from jaxtyping import Float
from steps import Benchmark, random_batch, stage_of

from labram_jax import config as c
from labram_jax.parallel.sharding import make_mesh, put_batch
from labram_jax.parallel.stopping import StopRequest
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.tables import text_table
from labram_jax.training.program import Program, prepare
from labram_jax.training.train import train

LOG_EVERY = 20
WARM_STEPS = 5 * LOG_EVERY
Seconds = Float[np.ndarray, "2"]  # wall clock, processor


@dataclass(frozen=True)
class LoopBenchmark:
    """Times the loop on a tiny model."""

    slots: int = 32
    """Patch slots of the one row of a batch."""
    steps: int = 1000
    """Steps of a turn."""
    turns: int = 5
    several: int = 1
    """loop.steps_per_dispatch."""


def main(benchmark: LoopBenchmark) -> None:
    stage, batch = tiny(benchmark)
    many = dataclasses.replace(stage.config, loop=c.LoopConfig(log_every=LOG_EVERY, steps_per_dispatch=LOG_EVERY))
    program = prepare(FinetuningStage(many, None), make_mesh(c.MeshConfig()), benchmark.steps, benchmark.steps)
    device, bare = on_the_device(program, batch), one_by_one(program, batch)
    turns = [
        {"device": device(benchmark.steps), "bare": bare(benchmark.steps), "loop": in_the_loop(stage, batch, benchmark)}
        for _ in range(benchmark.turns)
    ]
    milliseconds = {name: 1e3 * np.array([turn[name] for turn in turns]) for name in turns[0]}
    for name in ("bare", "device"):
        milliseconds[f"loop - {name}"] = milliseconds["loop"] - milliseconds[name]
    rows = [
        [name, *(float(part(column)) for column in values.T for part in (np.median, np.min, np.max))]
        for name, values in milliseconds.items()
    ]
    print(text_table(["ms a step", "wall", "from", "to", "processor", "from", "to"], rows))
    print(f"\n{benchmark}; {jax.devices()[0].device_kind}; jax {jax.__version__}, Python {platform.python_version()}")


def tiny(benchmark: LoopBenchmark) -> tuple[FinetuningStage, dict[str, np.ndarray]]:
    """A classifier of two blocks of width 100, and a batch of one row with all that a reader gives."""
    shape = Benchmark(size="tiny", rows=1)
    stage = stage_of("finetuning", shape, c.ComputeConfig())
    batch = random_batch("finetuning", shape)
    batch = {name: value if name == "labels" else value[:, : benchmark.slots] for name, value in batch.items()}
    batch |= dict.fromkeys(("window_ids", "corpus_ids"), np.zeros((1, 1), np.int32))
    loop = c.LoopConfig(
        epochs=1,
        log_every=LOG_EVERY,
        steps_per_dispatch=benchmark.several,
    )
    data = dataclasses.replace(stage.config.data, batch_rows=1, patch_slots=benchmark.slots)
    return FinetuningStage(dataclasses.replace(stage.config, data=data, loop=loop), None), batch


def on_the_device(program: Program, batch: dict[str, np.ndarray]) -> Callable[[int], Seconds]:
    """Seconds a step of steps in one program."""
    stacked = put_batch({name: np.stack([x] * LOG_EVERY) for name, x in batch.items()}, program.mesh, stacked=True)
    run = _timed(program.create_state(), lambda state: program.train_steps(state, stacked))
    return lambda steps: run(steps // LOG_EVERY) / LOG_EVERY


def one_by_one(program: Program, batch: dict[str, np.ndarray]) -> Callable[[int], Seconds]:
    """Seconds a step of calls of the step."""
    placed = put_batch(batch, program.mesh)
    return _timed(program.create_state(), lambda state: program.train_step(state, placed))


def _timed(state, step: Callable) -> Callable[[int], Seconds]:
    """A function that takes some steps, and gives the seconds of each; the first, which compiles, is done already."""
    state, metrics = jax.block_until_ready(step(state))

    def run(steps: int) -> Seconds:
        nonlocal state, metrics
        begin = now()
        for _ in range(steps):
            state, metrics = step(state)
        jax.block_until_ready(metrics)
        return (now() - begin) / steps

    return run


def in_the_loop(stage: FinetuningStage, batch: dict[str, np.ndarray], benchmark: LoopBenchmark) -> Seconds:
    """Seconds a step of a training, between the reading of two batches; before the first all was compiled."""
    stamps = []

    def loader(start: int) -> Iterator[dict[str, np.ndarray]]:
        while True:
            stamps.append(now())
            yield batch

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stderr(io.StringIO()),
        StopRequest(stage.config.loop.stop_seconds) as stop,
    ):
        train(stage, Path(folder) / "run", loader, WARM_STEPS + benchmark.steps, stop=stop)
    return (stamps[-1] - stamps[WARM_STEPS - 1]) / (len(stamps) - WARM_STEPS)


def now() -> Seconds:
    """Of the wall clock, and of this process's threads together."""
    return np.array([time.perf_counter(), time.process_time()])


if __name__ == "__main__":
    main(tyro.cli(LoopBenchmark))
