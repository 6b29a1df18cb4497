"""How the cost of a pretraining step, and of opening corpora, grows: one thing at a time, all else as it is.

    python benchmarks/growth.py
    python benchmarks/growth.py --of electrodes depth --repeats 3

A small model (width 100, 2 blocks, 256 codes) labels and takes a step on windows of 16 electrodes x 4 s, 8 rows, one
window each; each sweep changes one of these. Time is processor seconds of the step, without its compilation; memory is
what the compiler sets aside beside the state. With the number of corpora grows the time to open them and to read the
first batches. Figures are saved in `benchmarks/figures`, with straight lines of slope 1 (and 2) to compare with.
"""

import dataclasses
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import tyro
from matplotlib.ticker import LogLocator, StrMethodFormatter
from random_corpora import random_corpus
from steps import random_mask, random_rows, stepping
from tqdm import tqdm

from labram_jax import config as c
from labram_jax.data.corpus import Corpus
from labram_jax.data.pipeline import training
from labram_jax.models import TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.reporting.figures import style
from labram_jax.stages.pretraining import PretrainingStage
from labram_jax.tables import text_table

FIGURES = Path(__file__).parent / "figures"
What = Literal["electrodes", "seconds", "rows", "codes", "depth", "corpora"]
SWEEPS: dict[str, tuple[int, ...]] = {
    "electrodes": (8, 16, 32, 64, 128),
    "seconds": (1, 2, 4, 8, 16),
    "rows": (4, 8, 16, 32, 64),
    "codes": (256, 512, 1024, 2048, 4096, 8192),
    "depth": (1, 2, 4, 8, 16),
    "corpora": (1, 2, 4, 8, 16),
}
LABELS = {
    "electrodes": "electrodes (4 s)",
    "seconds": "seconds (16 electrodes)",
    "rows": "rows of a batch",
    "codes": "codes of the codebook",
    "depth": "blocks of the encoder",
    "corpora": "corpora",
}


@dataclass(frozen=True)
class Benchmark:
    """Sweeps one thing after another."""

    of: tuple[What, ...] = tuple(SWEEPS)
    repeats: int = 5
    """Steps timed after the first, which does not count; the median is taken."""
    figures: Path = FIGURES


@dataclass(frozen=True)
class Size:
    """What a pretraining step works on."""

    electrodes: int = 16
    seconds: int = 4
    rows: int = 8
    codes: int = 256
    depth: int = 2


class Cost(NamedTuple):
    """Processor seconds, and bytes where they are measured."""

    seconds: float
    bytes: float


def main(benchmark: Benchmark) -> None:
    found: dict[str, list[Cost]] = {}
    for name in benchmark.of:
        measure = (
            cost_of_index
            if name == "corpora"
            else lambda value, name=name: cost_of_step(dataclasses.replace(Size(), **{name: value}), benchmark.repeats)
        )
        found[name] = [measure(value) for value in tqdm(SWEEPS[name], desc=name)]
    rows = [
        [name, value, 1e3 * cost.seconds, cost.bytes / 2**20, *(exponents(name, costs) if not place else (None, None))]
        for name, costs in found.items()
        for place, (value, cost) in enumerate(zip(SWEEPS[name], costs, strict=True))
    ]
    print(text_table(["of", "value", "processor ms", "MiB", "exponent of time", "of memory"], rows))
    benchmark.figures.mkdir(parents=True, exist_ok=True)
    steps = {name: costs for name, costs in found.items() if name != "corpora"}
    if steps:
        style.save(draw_steps(steps), benchmark.figures / "growth_step.png")
    if "corpora" in found:
        style.save(draw_index(found["corpora"]), benchmark.figures / "growth_corpora.png")


def exponents(name: str, costs: list[Cost]) -> tuple[float, float]:
    """Slopes on double logarithmic axes between the last two values, where fixed costs weigh least."""
    (a, b), (low, high) = SWEEPS[name][-2:], costs[-2:]
    return tuple(float(np.log(high[i] / low[i]) / np.log(b / a)) for i in range(2))


def cost_of_step(size: Size, repeats: int) -> Cost:
    """Of one step that labels and updates, with the memory that its program needs beside the state."""
    step, temporary = compiled_step(size)
    step()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        step()
        times.append(time.process_time() - begin)
    return Cost(float(np.median(times)), temporary)


def compiled_step(size: Size) -> tuple[Callable[[], None], int | None]:
    """A function that takes a pretraining step, and the bytes of its temporary memory."""
    encoder = c.EncoderConfig(width=100, depth=size.depth, heads=5, temporal_channels=4)
    tokenizer = c.TokenizerConfig(
        dataclasses.replace(encoder, qkv_bias=True, qk_norm=False, layer_scale=0.0),
        dataclasses.replace(encoder, depth=1, qkv_bias=True, qk_norm=False, layer_scale=0.0),
        c.QuantizerConfig(size.codes, 32),
    )
    pretrained = dataclasses.replace(encoder, class_position="first_electrode", initialisation="pretraining")
    model = c.MaskedModelConfig(pretrained, size.codes)
    data = c.DataConfig(batch_rows=size.rows, patch_slots=size.electrodes * size.seconds)
    variables = nn.unbox(jax.jit(TokenizerModel(tokenizer).init)(jax.random.key(1), empty_batch()))
    config = c.PretrainingStageConfig(run="", model=model, data=data)
    batch = random_rows(size.electrodes, size.seconds, size.rows)
    return stepping(
        PretrainingStage(config, tokenizer, jax.tree.map(np.asarray, variables)), batch | {"mask": random_mask(batch)}
    )


def cost_of_index(corpora: int) -> Cost:
    """Of opening so many corpora of 64 windows, and of the first 8 batches that mix them all."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [random_corpus(Path(folder) / f"c{n}", 16, 64, 4, 1).path for n in range(corpora)]
        begin = time.process_time()
        windows = [Corpus.open(path).windows("train", 4) for path in paths]
        batches = iter(training(windows, batch_rows=32, patch_slots=64, segments=1, seed=0, masked=True))
        for _ in range(8):
            next(batches)
        return Cost(time.process_time() - begin, math.nan)


@style.styled
def draw_steps(found: dict[str, list[Cost]]):
    """Time and memory of a step against each of what was swept."""
    figure, axes = style.new_figure(2, len(found), size=(2.4 * len(found), 4.6), sharey="row")
    for row, (what, unit, label) in enumerate(
        (("seconds", 1e-3, "processor ms a step"), ("bytes", 2**20, "temporary memory, MiB"))
    ):
        values = {name: np.array([getattr(cost, what) / unit for cost in costs]) for name, costs in found.items()}
        for own, name in zip(axes[row], found, strict=True):
            _against(own, SWEEPS[name], values[name])
        _limit(axes[row, 0], np.concatenate(list(values.values())))
        axes[row, 0].set_ylabel(label)
    for column, name in enumerate(found):
        axes[0, column].set_title(name)
        axes[1, column].set_xlabel(LABELS[name])
    return figure


@style.styled
def draw_index(costs: list[Cost]):
    """Time to open corpora and read from all of them."""
    figure, axes = style.new_figure(size=(3.4, 2.8))
    _against(axes[0, 0], SWEEPS["corpora"], np.array([1e3 * cost.seconds for cost in costs]))
    axes[0, 0].set(xlabel=LABELS["corpora"], ylabel="processor ms to the 8th batch")
    return figure


def _against(axes, values: tuple[int, ...], costs: np.ndarray) -> None:
    """One curve on double logarithmic axes, between what would be proportional to the value and to its square."""
    ticks = np.array(values)
    for power, dashes in ((1, "--"), (2, ":")):
        axes.plot(ticks, costs[-1] * (ticks / ticks[-1]) ** power, dashes, color=style.REFERENCE, lw=0.9)
    axes.plot(ticks, costs, "o-", color=style.BLUE, ms=4)
    axes.set(xscale="log", yscale="log")
    _limit(axes, costs)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_xticks(ticks, [str(value) for value in values])
    axes.minorticks_off()


def _limit(axes, costs: np.ndarray) -> None:
    axes.set_ylim(costs.min() / 2, costs.max() * 1.6)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
