"""What keeping a frozen encoder's features spares a benchmark of probes, and whether all else is equal.

    python benchmarks/kept_features.py PROTOCOL --checkpoint RUN --corpus DIRECTORY --out FOLDER [--folds 3]

The runs of some folds are made twice, keeping nothing and keeping features. Printed are the processor seconds of each
run and its test scores. The corpus must have no kept features of this encoder, and FOLDER must not exist.
"""

import dataclasses
import time
from dataclasses import dataclass

import tyro
from protocol_runs import Asked

from labram_jax.config import replace
from labram_jax.runs import train
from labram_jax.tables import text_table


@dataclass(frozen=True, kw_only=True)
class Options(Asked):
    """What is measured."""

    folds: int = 3


def main(options: Options) -> None:
    benchmark, rows, scores = options.benchmark("probe"), [], {}
    for kept in ("never", "never", "auto"):  # what is compiled in the first round is not measured
        own_folder = dataclasses.replace(benchmark, out=options.out / f"{len(rows)}-{kept}")
        measured = []
        for fold in benchmark.folds[: options.folds if rows else 1]:
            own = replace(own_folder.configured("probe", 0, fold), kept_features=kept)
            before = time.process_time()
            scores.setdefault(fold.name, []).append(train(own).test)
            measured.append(f"{time.process_time() - before:.1f}")
        rows.append([kept, *measured])
    print(text_table(["kept features", *(fold.name for fold in benchmark.folds[: options.folds])], rows[1:]))
    same = all(own == found[0] for found in scores.values() for own in found)
    print(f"test scores are {'equal to the bit' if same else 'NOT equal'} in every fold")


if __name__ == "__main__":
    main(tyro.cli(Options))
