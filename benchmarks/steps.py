"""Times one step of each stage, and embedding, on random windows; each in a process of its own.

    python benchmarks/steps.py
    python benchmarks/steps.py --steps pretraining --size large --dtype bfloat16 --rows 64
    python benchmarks/steps.py --steps finetuning --compare unroll=12
    python benchmarks/steps.py --dtype bfloat16 --attention cudnn --compare attention=xla

A step includes the optimizer's update, pretraining also the labelling by the tokenizer. The wall clock feels
whatever else the machine does; processor seconds (a CPU's alone) hardly do, and comparisons alternate both sides.
"""

import dataclasses
import math
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Literal

import flax
import flax.linen as nn
import jax
import numpy as np
import tyro

from labram_jax import config as c
from labram_jax.inference import Encoder
from labram_jax.models import TokenizerModel
from labram_jax.models.attention import kernel_for
from labram_jax.models.patches import empty_batch
from labram_jax.montage import ELECTRODES
from labram_jax.parallel.sharding import make_mesh
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.stages.stage import Stage
from labram_jax.stages.tokenizer import TokenizerStage
from labram_jax.tables import text_table
from labram_jax.training.program import prepare

StepName = Literal["tokenizer", "pretraining", "finetuning", "embedding"]
# Electrodes x seconds of the windows of each step.
MONTAGES = {"tokenizer": (62, 4), "pretraining": (62, 4), "finetuning": (23, 10), "embedding": (23, 10)}
EMBEDDED_WINDOWS = 4  # to every window of a training step


@dataclass(frozen=True)
class Benchmark:
    """Times training steps and embedding."""

    steps: tuple[StepName, ...] = ("tokenizer", "pretraining", "finetuning", "embedding")
    size: Literal["base", "large", "tiny"] = "base"
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of matrix products."""
    attention: Literal["auto", "xla", "splash", "cudnn", "triton"] = "auto"
    """The kernel of attention; what takes its place where it does not apply is told."""
    rows: int = 16
    """Windows of a training step; embedding takes four times as many."""
    packed: int = 1
    """Windows packed in one row of the training steps."""
    repeats: int = 5
    """Steps timed after the first, which does not count."""
    compare: tuple[str, ...] = ()
    """Settings of the other side of a comparison: name=value of ComputeConfig, e.g. unroll=12."""

    def sides(self) -> dict[str, c.ComputeConfig]:
        plain = c.ComputeConfig(dtype=self.dtype, attention=self.attention)
        if not self.compare:
            return {"": plain}
        kinds = {field.name: type(getattr(plain, field.name)) for field in dataclasses.fields(plain)}
        pairs = [text.partition("=")[::2] for text in self.compare]
        changes = {name: kinds[name](value) for name, value in pairs}
        return {"as it is": plain, " ".join(self.compare): dataclasses.replace(plain, **changes)}


@dataclass
class Timing:
    """One side of a measurement; seconds of wall clock and processor for each repeat, memory in bytes."""

    compile_seconds: float
    temporary: int | None
    wall: list[float]
    processor: list[float]


@dataclass(frozen=True)
class Result:
    """What one process measured."""

    device: str
    attention: str
    peak: int
    timings: dict[str, Timing]


def main(benchmark: Benchmark) -> None:
    results = {}
    for name in benchmark.steps:
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            results[name] = fresh.submit(measure, name, benchmark).result()
    print(text_table(*table(benchmark, results)))
    devices = {result.device for result in results.values()}
    kernels = {result.attention for result in results.values()}
    versions = f"jax {jax.__version__}, flax {flax.__version__}, Python {platform.python_version()}"
    where = ", ".join([*devices, *kernels])
    print(f"\n{benchmark.size}, {benchmark.dtype}, {benchmark.rows} windows; {where}; {versions}")


def measure(name: StepName, benchmark: Benchmark) -> Result:
    """Times all sides of one step, taking turns."""
    sides = {}
    for side, compute in benchmark.sides().items():
        begin = time.perf_counter()
        step, temporary = (embedding if name == "embedding" else training)(name, benchmark, compute)
        step()
        sides[side] = (step, Timing(time.perf_counter() - begin, temporary, [], []))
    for _ in range(benchmark.repeats):
        for step, timing in sides.values():
            wall, processor = time.perf_counter(), time.process_time()
            step()
            timing.wall.append(time.perf_counter() - wall)
            timing.processor.append(time.process_time() - processor)
    device = jax.devices()[0]
    described = f"{jax.device_count()} x {device.device_kind}"
    told = attention_told(name, benchmark)
    return Result(described, told, _peak(device), {side: timing for side, (_, timing) in sides.items()})


def attention_told(name: StepName, benchmark: Benchmark) -> str:
    """Which kernel computes attention here, and why if it is not the one that was asked for."""
    windows = 1 if name == "embedding" else benchmark.packed
    encoder, compute = masked_model(benchmark.size).encoder, next(iter(benchmark.sides().values()))
    tokens, head_dim = row_slots(math.prod(MONTAGES[name]), windows) + windows, encoder.width // encoder.heads
    return kernel_for(compute, jax.devices()[0], tokens, windows, head_dim).told


def training(name: StepName, benchmark: Benchmark, compute: c.ComputeConfig) -> tuple[Callable[[], None], int | None]:
    """A function that takes one training step, and the bytes of temporary memory that the step needs."""
    return stepping(stage_of(name, benchmark, compute), random_batch(name, benchmark))


def stepping(stage: Stage, batch: dict[str, np.ndarray]) -> tuple[Callable[[], None], int | None]:
    """A function that takes one step of a stage with a batch, and the bytes of temporary memory that the step needs."""
    program = prepare(stage, make_mesh(c.MeshConfig()), 1000, 100)
    state = program.create_state()
    compiled = program.train_step.lower(state, batch).compile()
    analysis = compiled.memory_analysis()
    batch = jax.device_put(batch, compiled.input_shardings[0][1])

    def step() -> None:
        nonlocal state
        state, metrics = compiled(state, batch)
        jax.block_until_ready((state, metrics))

    return step, analysis and analysis.temp_size_in_bytes


def embedding(name: StepName, benchmark: Benchmark, compute: c.ComputeConfig) -> tuple[Callable[[], None], None]:
    """A function that embeds windows given as arrays, from microvolts to features."""
    model = masked_model(benchmark.size)
    stage = PretrainingStage(c.PretrainingStageConfig(run="", model=model), c.TokenizerConfig(), {})
    encoder = Encoder(nn.unbox(jax.jit(stage.init)(jax.random.key(0))), model, compute)
    electrodes, seconds = MONTAGES[name]
    shape = (EMBEDDED_WINDOWS * benchmark.rows, electrodes, seconds * c.SAMPLE_RATE)
    eeg = np.random.default_rng(0).normal(scale=30, size=shape).astype(np.float32)
    return lambda: encoder.features(eeg, ELECTRODES[:electrodes], sfreq=200), None


def stage_of(name: StepName, benchmark: Benchmark, compute: c.ComputeConfig) -> Stage:
    data, model = c.DataConfig(segments=benchmark.packed), masked_model(benchmark.size)
    common = {"run": "", "data": data, "compute": compute}
    tokenizer = tokenizer_model(benchmark.size)
    if name == "tokenizer":
        return TokenizerStage(c.TokenizerStageConfig(model=tokenizer, **common), 100)
    if name == "pretraining":
        variables = jax.jit(TokenizerModel(tokenizer).init)(jax.random.key(1), empty_batch())
        variables = jax.tree.map(np.asarray, nn.unbox(variables))
        return PretrainingStage(c.PretrainingStageConfig(model=model, **common), tokenizer, variables)
    encoder = dataclasses.replace(model.encoder, drop_path=0.1, class_position="class_row")
    return FinetuningStage(c.FinetuningStageConfig(model=c.ClassifierConfig(encoder), **common), None)


def masked_model(size: str) -> c.MaskedModelConfig:
    quirks = {"class_position": "first_electrode", "initialisation": "pretraining"}
    if size == "tiny":
        tiny = c.EncoderConfig(width=100, depth=2, heads=5, temporal_channels=4, **quirks)
        return c.MaskedModelConfig(tiny, codes=256)
    return c.MaskedModelConfig({"base": c.base_encoder, "large": c.large_encoder}[size](**quirks))


def tokenizer_model(size: str) -> c.TokenizerConfig:
    plain = c.TokenizerConfig()
    if size == "tiny":
        encoder = dataclasses.replace(plain.encoder, width=100, depth=2, heads=5, temporal_channels=4)
        return c.TokenizerConfig(encoder, dataclasses.replace(encoder, depth=1), c.QuantizerConfig(256, 16))
    depth = {"base": 12, "large": 24}[size]
    return dataclasses.replace(plain, encoder=dataclasses.replace(plain.encoder, depth=depth))


def row_slots(patches: int, windows: int) -> int:
    """Patch slots of a row of windows; with the class tokens of several windows they fill a multiple of 128."""
    return patches if windows == 1 else -(-windows * (patches + 1) // 128) * 128 - windows


def random_batch(name: StepName, benchmark: Benchmark) -> dict[str, np.ndarray]:
    """Windows of noise, as many to a row as `packed` says, with what the stage wants beside them."""
    rows, windows = -(-benchmark.rows // benchmark.packed), benchmark.packed
    batch = random_rows(*MONTAGES[name], rows, windows)
    if name == "pretraining":
        batch["mask"] = random_mask(batch)
    if name == "finetuning":
        batch["labels"] = np.arange(rows * windows, dtype=np.int32).reshape(rows, windows) % 2
    return batch


def random_mask(batch: dict[str, np.ndarray]) -> np.ndarray:
    """Half of the slots, hidden."""
    return np.random.default_rng(1).random(batch["segment_ids"].shape) < 0.5


def random_rows(electrodes: int, seconds: int, rows: int, windows: int = 1) -> dict[str, np.ndarray]:
    """Rows of so many windows of noise each."""
    patches = electrodes * seconds
    slots = row_slots(patches, windows)
    rng = np.random.default_rng(0)

    def everywhere(one_window: np.ndarray) -> np.ndarray:
        row = np.zeros(slots, np.int32)
        row[: windows * patches] = np.tile(one_window, windows)
        return np.tile(row, (rows, 1))

    segment_ids = everywhere(np.ones(patches)) * np.minimum(np.arange(slots) // patches + 1, windows).astype(np.int32)
    signal = rng.normal(scale=30, size=(rows, slots, c.PATCH_SAMPLES)) * (segment_ids > 0)[..., None]
    return {
        "microvolts": signal.astype(np.float16),
        "electrode_ids": everywhere(np.repeat(np.arange(1, electrodes + 1), seconds)),
        "time_ids": everywhere(np.tile(np.arange(seconds), electrodes)),
        "segment_ids": segment_ids,
    }


def table(benchmark: Benchmark, results: dict[str, Result]) -> tuple[list[str], list[list[object]]]:
    headers = ["step", "seconds", "from", "to", "processor s", "temporary GB", "peak GB", "first call s"]
    if benchmark.compare:
        headers += ["ratio", "from", "to", "processor"]
    rows = []
    for name, result in results.items():
        plain = next(iter(result.timings.values()))
        for side, timing in result.timings.items():
            row = [
                f"{name} {side}".strip(),
                *_spread(timing.wall),
                float(np.median(timing.processor)),
                None if timing.temporary is None else timing.temporary / 1e9,
                result.peak / 1e9,
                timing.compile_seconds,
            ]
            if benchmark.compare:
                ratios = np.divide(timing.wall, plain.wall)
                row += [*_spread(ratios), float(np.median(np.divide(timing.processor, plain.processor)))]
            rows.append(row)
    return headers, rows


def _spread(values) -> tuple[float, float, float]:
    return float(np.median(values)), float(np.min(values)), float(np.max(values))


def _peak(device: jax.Device) -> int:
    """Most memory in use so far: of the accelerator, or of this process where there is none."""
    statistics = device.memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
