"""Evaluation: the statistics of all batches of a split, and what a stage makes of them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from labram_jax.errors import InputError
from labram_jax.parallel.sharding import put_batch
from labram_jax.stages.stage import Stage, Statistics
from labram_jax.training.program import Program
from labram_jax.training.readback import Readback

PyTree = Any
HostBatches = Iterable[Mapping[str, np.ndarray]]


def evaluate(
    program: Program,
    variables: dict[str, PyTree],
    frozen: PyTree,
    batches: HostBatches,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Metrics of a stage over all `batches`, the same on every process; None if it was stopped. See `collect`.

    Raises InputError where one is not finite: no checkpoint could be chosen by it.
    """
    statistics = collect(program, variables, frozen, batches, stopping)
    return None if statistics is None else summarise(program.stage, statistics)


def summarise(stage: Stage, statistics: Statistics) -> dict[str, float]:
    """What a stage makes of its statistics; raises InputError where a metric is not finite."""
    scores = stage.summarise(statistics)
    for name, value in scores.items():
        if not np.isfinite(value):
            raise InputError(
                f"the {name} of the evaluated windows is {value}, though their EEG is finite: the training has "
                "diverged, so use an earlier checkpoint, lower optimizer.learning_rate or lengthen "
                "optimizer.warmup_epochs."
            )
    return scores


def collect(
    program: Program,
    variables: dict[str, PyTree],
    frozen: PyTree,
    batches: HostBatches,
    stopping: Callable[[], bool] = lambda: False,
) -> Statistics | None:
    """Statistics of all `batches`, sums in 64 bit and rows one after another, on the host of every process.

    A batch holds this process's rows. `stopping` is asked between batches and must answer the same on every process;
    where it says True, None is returned. Raises InputError where there is no batch.
    """
    readback, sums, rows = Readback(), None, []

    def take(results: list[tuple[int, Statistics]]) -> None:
        nonlocal sums
        for _, found in results:
            # On the host, because float32 sums and whole numbers of 32 bit do not hold large splits.
            wide = jax.tree.map(lambda x: x.astype(np.float64 if x.dtype.kind == "f" else np.int64), found.sums)
            sums = wide if sums is None else jax.tree.map(np.add, sums, wide)
            rows.append(found.rows)

    for number, batch in enumerate(batches):
        if number and stopping():
            return None
        take(readback.add(number, program.evaluate_batch(variables, frozen, put_batch(batch, program.mesh))))
    take(readback.rest())
    if sums is None:
        raise InputError("There is nothing to evaluate: the split has no batch.")
    return Statistics(sums=sums, rows=jax.tree.map(lambda *parts: np.concatenate(parts), *rows))
