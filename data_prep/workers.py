"""Who does the work of a build: this process, or a pool of fresh ones (`beam.py` is the third way)."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import TypeVar

from labram_jax.errors import InputError

Job = TypeVar("Job")
Result = TypeVar("Result")
# Runs a top-level function over jobs, here or elsewhere, and yields (place, result) as results come. The result is None
# where a process died of the job, also when it had nothing else to do.
RunAll = Callable[[Callable[[Job], Result], Sequence[Job]], Iterator[tuple[int, Result | None]]]


@contextmanager
def processes(jobs: int) -> Iterator[RunAll]:
    """Gives a function that runs jobs in this process, or in `jobs` fresh ones (which inherit no threads or locks).

    The processes end with this one, however it ends.
    """
    if jobs == 1:
        yield lambda function, items: ((place, function(item)) for place, item in enumerate(items))
        return
    with ExitStack() as end:
        yield _Workers(jobs, end).run


class _Workers:
    """A pool that is replaced when one of its processes dies; the jobs then under way are tried one by one."""

    def __init__(self, jobs: int, end: ExitStack):
        self._jobs, self._end = jobs, end
        self._pool = end.enter_context(_Pool(jobs))

    def run(self, function: Callable[[Job], Result], items: Sequence[Job]) -> Iterator[tuple[int, Result | None]]:
        waiting: deque[tuple[int, Job]] = deque(enumerate(items))
        running: dict[Future, tuple[int, Job]] = {}
        while waiting or running:
            try:
                # No more than keeps the processes busy, so that few are suspected when one dies.
                while waiting and len(running) < 2 * self._jobs:
                    future = self._pool.submit(function, waiting[0][1])
                    running[future] = waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield running.pop(future)[0], result
            except BrokenProcessPool:
                suspects = list(running.values())
                running.clear()
                yield from _one_by_one(function, suspects)
                self._pool = self._end.enter_context(_Pool(self._jobs))


def _one_by_one(
    function: Callable[[Job], Result], jobs: Iterable[tuple[int, Job]]
) -> Iterator[tuple[int, Result | None]]:
    """Runs jobs in a process that does nothing else, and in another one after it died."""
    with ExitStack() as end:
        pool = None
        for place, job in jobs:
            if pool is None:
                pool = end.enter_context(_Pool(1))
                _try(pool)
            try:
                yield place, pool.submit(function, job).result()
            except BrokenProcessPool:
                pool = None
                yield place, None


def _try(pool: "_Pool") -> None:
    """Raises InputError where not even a process without work lives."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:
        raise InputError(
            "Processes that should prepare recordings die as they start: give jobs 1, and in a script of your own "
            'call what prepares under `if __name__ == "__main__":`.'
        ) from error


class _Pool:
    """Fresh processes, and the line whose end ends them: when it is closed, here or by this process's death."""

    def __init__(self, jobs: int):
        theirs, self._line = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow, initargs=(theirs,))
        self.submit = self._pool.submit

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_) -> None:
        self._line.close()
        self._pool.shutdown(cancel_futures=True)


def _follow(line: Connection) -> None:
    """Makes a worker end with its line, and leave signals to the process that began the build."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()


def _end_with(line: Connection) -> None:
    line.poll(None)
    os._exit(1)
