"""Does the work of a build on Apache Beam, on whatever runner its pipeline options name.

Only numbers of parts go through Beam. The jobs of a part and their results are files in a folder beside the corpus,
which every worker sees, as it must see the recordings and the corpus itself. So any runner gives results back, none
has a limit on their size, and a part that a runner does twice does no harm.
"""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from labram_jax.data_prep.workers import Job, Result, RunAll
from labram_jax.errors import InputError

# The most parts that jobs are dealt out into; each costs a file of jobs and one of results.
_PARTS = 2048


@contextmanager
def beam_workers(options: Sequence[str], out: Path, recordings: Sequence[Path]) -> Iterator[RunAll]:
    """Gives a function that runs jobs on Beam's workers; what it yields comes when all is done.

    options: Beam's own, as on its command line ("--runner", "FlinkRunner", ...).
    out: the corpus to be built; files are exchanged in a folder beside it.
    recordings: files that the jobs read.
    Raises InputError where Beam is not installed or refuses the options, for paths that mean something else on another
    machine, and where a worker does not see the folders.
    """
    _pipeline(options)  # what is wrong with the options is said before anything is written
    if not out.is_absolute() or not all(path.is_absolute() for path in recordings):
        raise InputError("Beam's workers do not share this working directory: give SOURCE and OUT as absolute paths.")
    exchange = out.with_name(f"{out.name}.{uuid4().hex}.beam")
    exchange.mkdir(parents=True)
    source = Path(os.path.commonpath([path.parent for path in recordings]))
    try:
        yield lambda function, items: _run_all(options, _Work(function, exchange / function.__name__, source), items)
    finally:
        shutil.rmtree(exchange, ignore_errors=True)


@dataclass(frozen=True)
class _Work:
    """What a worker does with one part: reads its jobs, runs `function` over them, writes the results.

    Where the folders cannot be seen it writes nothing, of which `_run_all` then complains.
    """

    function: Callable[[Job], Result]
    exchange: Path
    source: Path

    def __call__(self, part: int) -> None:
        if self.exchange.is_dir() and self.source.is_dir():
            results = [(place, self.function(job)) for place, job in _read(self.jobs(part))]
            _write(self.results(part), results)

    def jobs(self, part: int) -> Path:
        return self.exchange / f"{part}.jobs"

    def results(self, part: int) -> Path:
        return self.exchange / f"{part}.results"


def _run_all(options: Sequence[str], work: _Work, items: Sequence[Job]) -> Iterator[tuple[int, Result]]:
    import apache_beam as beam

    work.exchange.mkdir()
    parts = range(min(len(items), _PARTS))
    for part in parts:
        _write(work.jobs(part), [(place, items[place]) for place in range(part, len(items), len(parts))])
    pipeline = _pipeline(options)
    # The shuffle keeps a runner from doing all parts where it made their numbers.
    _ = pipeline | "parts" >> beam.Create(parts) | beam.Reshuffle() | work.function.__name__ >> beam.Map(work)
    state = pipeline.run().wait_until_finish()
    if state != beam.runners.runner.PipelineState.DONE:
        raise InputError(f"The Beam job ended as {state}: start the command again; finished shards are kept.")
    lost = sum(not work.results(part).is_file() for part in parts)
    if lost:
        raise InputError(
            f"{lost} of {len(parts)} parts of the work left no result, because not every Beam worker sees "
            f"{work.source} and {work.exchange.parents[1]} under these names: mount both on all machines."
        )
    for part in parts:
        yield from _read(work.results(part))


def _pipeline(options: Sequence[str]):
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            "A build on Beam was asked for, but Apache Beam is not installed: pip install 'labram-jax[beam]'."
        ) from error
    try:
        return beam.Pipeline(options=PipelineOptions(list(options)))
    except (ImportError, ValueError) as error:
        reason = str(error).rstrip(".").replace(". ", "; ")
        raise InputError(f"Beam refuses the options {' '.join(options)!r} ({reason}): correct them.") from error


def _read(file: Path) -> Any:
    return pickle.loads(file.read_bytes())


def _write(file: Path, content: Any) -> None:
    """The file appears under its name only when whole, also where two workers write it at once."""
    partial = file.with_name(f"{file.name}.{uuid4().hex}")
    partial.write_bytes(pickle.dumps(content))
    partial.replace(file)
