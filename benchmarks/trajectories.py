"""How far training in bfloat16 parts from the official runs in float32, and whether it ends at the same losses.

    PYTHONPATH=tests:tests/training python benchmarks/trajectories.py
    PYTHONPATH=tests:tests/training python benchmarks/trajectories.py --runs pretrain --steps 150

The runs are those of `tests/training/trajectory.py`, which says where their files are looked for. They start from the
same weights and see the same batches, masks and learning rates. Beside each type stands how far four official runs
part whose weights were moved by 1e-7 to 1e-6 at the start.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import trajectory
import tyro
from trajectory import DENSE, Run, run

from labram_jax.progress import Progress
from labram_jax.tables import text_table

LAST = 10  # steps over which the end is averaged


class Followed(NamedTuple):
    """How a run is followed for some steps in some type; its losses by our names and by those of the files."""

    train: Callable[[str, int], Run]
    losses: Mapping[str, str]
    steps: int


def tokenizer(name: str) -> Followed:
    losses = {"commitment_loss": "commitment", "amplitude_loss": "amplitude", "phase_loss": "phase", "loss": "total"}
    return Followed(lambda dtype, steps: trajectory.train_tokenizer(name, DENSE, dtype, steps), losses, 150)


RUNS: Mapping[str, Followed] = {
    **{f"tokenizer_{name}": tokenizer(name) for name in "abcs"},
    "pretrain": Followed(lambda *asked: trajectory.pretrain(DENSE, *asked), {"cross_entropy": "loss_rec"}, 450),
    "finetune": Followed(lambda *asked: trajectory.finetune(DENSE, *asked), {"loss": "loss"}, 80),
}


@dataclass(frozen=True)
class Benchmark:
    """Follows the official runs."""

    runs: tuple[str, ...] = tuple(RUNS)
    """Names of runs, as in `runs.npz`."""
    steps: int | None = None
    """Steps of each, if not all."""
    types: tuple[str, ...] = ("float32", "bfloat16")
    """Types of products."""


def main(benchmark: Benchmark) -> None:
    rows = []
    with Progress("runs", len(benchmark.runs) * len(benchmark.types)) as progress:
        for name in benchmark.runs:
            followed = RUNS[name]
            steps = min(benchmark.steps or followed.steps, followed.steps)
            mine = {}
            for dtype in benchmark.types:
                mine[dtype] = followed.train(dtype, steps)
                progress.update(text=f"{name}, {dtype}")
            rows += [row(name, metric, curve, mine, steps) for metric, curve in followed.losses.items()]
    apart = [f"{dtype} {what}" for dtype in benchmark.types for what in ("largest", "last")]
    print(text_table(["run", "loss", "steps", "official, last", *apart, "perturbed"], rows))
    print(f"\nlast: means over the last {LAST} steps; differences are relative")


def row(name: str, metric: str, curve: str, mine: Mapping[str, Run], steps: int) -> list[object]:
    """The largest difference at any step, and that of the means of the last steps, in each type."""
    official = run(f"{name}/f32/{curve}")[:steps]
    apart = []
    for own in mine.values():
        values = own.curves[metric]
        largest = np.max(np.abs(values - official) / np.abs(official))
        apart += [f"{largest:.1e}", f"{values[-LAST:].mean() / official[-LAST:].mean() - 1:+.1e}"]
    perturbed = np.max(run(f"{name}/jitter_spread/{curve}")[:steps] / np.abs(official))
    return [name, metric, steps, float(official[-LAST:].mean()), *apart, f"{perturbed:.1e}"]


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
