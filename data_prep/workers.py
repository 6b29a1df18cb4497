"""Who does the work of a build: this process, or a pool of fresh ones (`data_prep.beam` is the third way)."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from labram_jax.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
# Runs a top-level function over jobs, here or elsewhere, and yields (place, result) as results come.
RunAll = Callable[[Callable[[Job], Result], Sequence[Job]], Iterator[tuple[int, Result]]]


@contextmanager
def processes(jobs: int) -> Iterator[RunAll]:
    """Gives a function that runs jobs in this process, or in `jobs` fresh ones (which inherit no threads or locks)."""
    if jobs == 1:
        yield lambda function, items: ((place, function(item)) for place, item in enumerate(items))
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield lambda function, items: _as_they_come(pool, function, items)
    except BrokenProcessPool as error:
        raise InputError(
            "A preparing process died, probably for want of memory: start the command again with fewer --jobs; "
            "finished shards are kept."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _as_they_come(
    pool: ProcessPoolExecutor, function: Callable[[Job], Result], items: Sequence[Job]
) -> Iterator[tuple[int, Result]]:
    places: dict[Future, int] = {pool.submit(function, item): place for place, item in enumerate(items)}
    for future in as_completed(places):
        yield places[future], future.result()
