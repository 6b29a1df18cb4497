"""What a benchmark spares where the runs of a fold share what is compiled, whatever their seed.

    python benchmarks/shared_programs.py PROTOCOL --checkpoint RUN --corpus DIRECTORY --out FOLDER [--turns 5]

In every turn two runs of the first fold, of the next two seeds: one with nothing traced and compiled before (but for
the compiler's own cache on disk, which both have), one with what that has. Printed are seconds and processor seconds,
and how many times as many the first takes. FOLDER must not exist.
"""

import statistics
import time
from dataclasses import dataclass

import tyro
from protocol_runs import Asked

from labram_jax.runs import train
from labram_jax.tables import text_table
from labram_jax.training.program import Programs


@dataclass(frozen=True, kw_only=True)
class Options(Asked):
    """What is measured."""

    mode: str = "all"
    epochs: float = 3
    turns: int = 5


def main(options: Options) -> None:
    changes = {"loop.epochs": options.epochs, "optimizer.warmup_epochs": 1, "compute.dtype": "float32"}
    benchmark = options.benchmark(options.mode, **changes, **{"data.batch_rows": 32})
    measured: dict[str, list[tuple[float, float]]] = {"alone": [], "shared": []}
    for seed in range(2 * options.turns + 2):  # the first two fill the cache on disk
        if seed % 2 == 0:
            programs = Programs()
        before = time.perf_counter(), time.process_time()
        train(benchmark.configured(options.mode, seed, benchmark.folds[0]), programs=programs)
        spent = time.perf_counter() - before[0], time.process_time() - before[1]
        if seed > 1:
            measured["shared" if seed % 2 else "alone"].append(spent)
    rows = [
        [name, *(f"{statistics.median(own):.1f}" for own in zip(*runs, strict=True))] for name, runs in measured.items()
    ]
    print(text_table(["programs", "seconds", "processor seconds"], rows))
    ratios = [first[0] / second[0] for first, second in zip(*measured.values(), strict=True)]
    print(f"times as long alone, turn by turn: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


if __name__ == "__main__":
    main(tyro.cli(Options))
