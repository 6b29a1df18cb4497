"""Times reading: the loader, records of other lengths, the index of windows; and preparation.

    python benchmarks/data.py
    python benchmarks/data.py --parts loader --electrodes 62 --window-seconds 4
    python benchmarks/data.py --parts preparation --source recordings/eegmat --corpus eegmat

Figures are windows per second of processor time, which is what one core delivers; the wall clock beside it also feels
whatever else the machine does. Each is the median of some repetitions, for which all lines of a table take turns.
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple
from unittest import mock

import numpy as np
import tyro
from random_corpora import flag, forget, made_up_tables, noise, random_corpus, records

from labram_jax.data import pipeline, schema, signal
from labram_jax.data.corpus import Corpus
from labram_jax.data.permutation import Permutation
from labram_jax.data.schema import RATE_HZ, CorpusInfo
from labram_jax.data.signal import Signal, Stretch
from labram_jax.data.views import SplitWindows
from labram_jax.data.windows import WindowIndex
from labram_jax.data_prep.corpora import corpus_module
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.writer import write_shard
from labram_jax.tables import text_table

Table = tuple[list[str], list[list[object]]]
Part = Literal["loader", "records", "index", "preparation"]

# Electrodes x seconds of the mixture: what corpora look like when windows have about 256 patches.
MONTAGES = ((62, 4), (64, 4), (56, 4), (32, 8), (23, 10), (21, 12), (19, 13), (14, 16))
# The published windows: what they are for, electrodes, seconds, and the stride in samples.
PUBLISHED = (
    ("pretraining", 62, 4, 4 * RATE_HZ),
    ("tokenizer", 62, 4, RATE_HZ),
    ("TUAB", 23, 10, 10 * RATE_HZ),
    ("TUEV", 23, 5, 1),
)
SHAPE = {"patch_slots": 256, "segments": 8, "seed": 0}


@dataclass(frozen=True)
class Benchmark:
    """Times reading and, if a source is given, preparation."""

    parts: tuple[Part, ...] = ("loader", "records", "index")
    """What to measure."""
    electrodes: int = 23
    """Electrodes of the corpus of one montage."""
    window_seconds: int = 10
    """Length of its windows."""
    windows: int = 512
    """Windows of each corpus that follow each other without overlap."""
    shards: int = 1
    """Files of each corpus, up to 8."""
    batch_rows: int = 32
    """Rows of a batch, of 256 patch slots each."""
    batches: int = 40
    """Batches read for each figure."""
    repeats: int = 5
    """Repetitions, of which the median counts."""
    hours: float = 2.0
    """Signal from which records of other lengths are made."""
    record_seconds: tuple[int, ...] = (1, 2, 4, 8)
    """Their lengths."""
    corpora: int = 20
    """Corpora of the index."""
    indexed: int = 9_000_000
    """Windows of each."""
    source: Path | None = None
    """A folder of recordings to prepare."""
    corpus: str = "folder"
    """Which corpus the folder holds, as `labram-jax prepare` calls it."""
    jobs: int | None = None
    """Processes that prepare; by default one for each core."""


class Work(NamedTuple):
    """Something to be timed, which returns how many windows it read.

    `forgotten` are files that are dropped from memory before each repetition.
    """

    run: Callable[[], int]
    forgotten: Sequence[Path] = ()


def main(benchmark: Benchmark) -> None:
    tables = {"loader": loader, "records": record_lengths, "index": index, "preparation": preparation}
    for part in benchmark.parts:
        with tempfile.TemporaryDirectory() as folder:
            print(text_table(*tables[part](benchmark, Path(folder))), end="\n\n", flush=True)


def in_turns(works: Sequence[Work], repeats: int) -> list[tuple[int, int]]:
    """Returns each work's windows per second of processor time, and of wall clock."""
    found = np.zeros((repeats, len(works), 2))
    for work in works:
        work.run()  # opens files
    for turn in found:
        for rates, work in zip(turn, works, strict=True):
            forget(work.forgotten)
            wall, processor = time.perf_counter(), time.process_time()
            windows = work.run()
            rates[:] = windows / (time.process_time() - processor), windows / (time.perf_counter() - wall)
    return [(round(processor), round(wall)) for processor, wall in np.median(found, axis=0)]


def loader(benchmark: Benchmark, folder: Path) -> Table:
    """Batches of windows that follow each other, that overlap, of many montages, ...; and reading without batches."""
    electrodes, seconds = benchmark.electrodes, benchmark.window_seconds

    def corpus(name: str, electrodes: int, seconds: int, flagged: float = 0.0) -> Corpus:
        length = -(-seconds * benchmark.windows // 8)
        return random_corpus(folder / name, electrodes, length, 8, benchmark.shards, flagged)

    one = corpus("one", electrodes, seconds)
    apart, overlapping = one.windows("train", seconds), one.windows("train", seconds, 1.0)
    flagged = corpus("flagged", electrodes, seconds, 0.01).windows("train", seconds)
    mixed = [corpus(f"mix{n}", *own).windows("train", own[1]) for n, own in enumerate(MONTAGES)]
    order = np.random.default_rng(0).integers(len(apart), size=benchmark.batch_rows * benchmark.batches)
    works = {
        "reading alone": (Work(lambda: sum(len(apart[number].eeg) > 0 for number in order)), None),
        "fine-tuning batches": _batches(benchmark, [apart], masked=False),
        "pretraining batches": _batches(benchmark, [apart]),
        "the same, not yet in memory": _batches(benchmark, [apart], forgotten=list(one.path.glob("*/*.array_record*"))),
        "the same, stride 1 s": _batches(benchmark, [overlapping]),
        "the same, an electrode bad in 1 % of seconds": _batches(benchmark, [flagged]),
        f"pretraining batches, {len(MONTAGES)} montages mixed": _batches(benchmark, mixed),
    }
    found = in_turns([work for work, _ in works.values()], benchmark.repeats)
    rows = [[name, *own, padding] for own, (name, (_, padding)) in zip(found, works.items(), strict=True)]
    return [f"{electrodes} x {seconds * RATE_HZ}", "windows / s / core", "windows / s (wall)", "padding"], rows


def _batches(
    benchmark: Benchmark, windows: list[SplitWindows], masked: bool = True, forgotten: Sequence[Path] = ()
) -> tuple[Work, float]:
    dataset = pipeline.training(windows, masked=masked, batch_rows=benchmark.batch_rows, **SHAPE)

    def run() -> int:
        return sum(int((dataset[step]["window_ids"] >= 0).sum()) for step in range(benchmark.batches))

    return Work(run, forgotten), pipeline.training_rows(windows, **SHAPE).padding


def record_lengths(benchmark: Benchmark, folder: Path) -> Table:
    """The published windows at random from records of several lengths, in memory and not."""
    headers = ["windows", "record s", "windows / s / core", "not in memory, / s / core", "(wall)", "read / needed"]
    return headers, [row for published in PUBLISHED for row in _record_lengths(benchmark, folder, *published)]


def _record_lengths(
    benchmark: Benchmark, folder: Path, purpose: str, electrodes: int, seconds: int, stride: int
) -> list[list[object]]:
    eeg, works, shares = noise(electrodes, round(3600 * benchmark.hours)), [], []
    for length in benchmark.record_seconds:
        path, samples = folder / f"{purpose}-{length}.array_record", length * RATE_HZ
        with _records_of(samples):
            count = write_shard(path, records(eeg, samples), schema.record_features(electrodes, "float16"))
            stored = Signal([path], [count], electrodes, "float16")
            batches = _stretches(benchmark, electrodes, seconds, stride, count * samples)
            taken = sum(len(stretch.records) for batch in batches for stretch in batch) * samples

        def run(samples=samples, stored=stored, batches=batches) -> int:
            with _records_of(samples):
                for batch in batches:
                    stored.read(batch)
            return sum(map(len, batches))

        works += [Work(run), Work(run, [path])]
        shares.append(taken / (sum(map(len, batches)) * seconds * RATE_HZ))
    found = in_turns(works, benchmark.repeats)
    name = f"{purpose}: {electrodes} x {seconds} s, stride {stride / RATE_HZ:g} s"
    return [
        [name, length, warm[0], *cold, share]
        for length, warm, cold, share in zip(benchmark.record_seconds, found[::2], found[1::2], shares, strict=True)
    ]


@contextmanager
def _records_of(samples: int) -> Iterator[None]:
    """While this lasts, a record has so many samples."""
    with mock.patch.object(schema, "RECORD_SAMPLES", samples), mock.patch.object(signal, "RECORD_SAMPLES", samples):
        yield


def _stretches(benchmark: Benchmark, electrodes: int, seconds: int, stride: int, samples: int) -> list[list[Stretch]]:
    """Returns windows at random places, batch by batch."""
    places = (samples - seconds * RATE_HZ) // stride + 1
    starts = np.random.default_rng(0).integers(places, size=(benchmark.batches, benchmark.batch_rows)) * stride
    out = np.empty((benchmark.batch_rows, electrodes, seconds * RATE_HZ), np.float16)
    return [[Stretch(0, int(start), None, own) for start, own in zip(batch, out, strict=True)] for batch in starts]


def index(benchmark: Benchmark, folder: Path) -> Table:
    """What the windows of many large corpora take in memory, with and without bad seconds, against lists of them."""
    del folder
    electrodes, seconds, length = 64, 1800, 4
    recordings = -(-benchmark.indexed // (seconds - length + 1))
    tables, info = made_up_tables(recordings, seconds), CorpusInfo("c", ())

    def megabytes(taken: int) -> tuple[float, float]:
        return taken / 1e6, taken * benchmark.corpora / 1e6

    rows = []
    for name, share, bad in (
        ("index, no second flagged", 0.0, 0),
        ("index, one electrode bad in 1 % of seconds", 0.01, 1),
        ("index, most electrodes bad in 1 % of seconds", 0.01, electrodes),
    ):
        quality = np.zeros((recordings * seconds, electrodes), np.uint8)
        flag(quality, share, bad)
        begin = time.process_time()
        found = WindowIndex("m", info, tables, quality, "train", length, 1.0)
        rows.append([name, len(found), time.process_time() - begin, *megabytes(found.nbytes)])
    tracemalloc.start()
    orders = [Permutation(benchmark.indexed, (0, epoch)) for epoch in range(2)]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows.append(["shuffle of two epochs", len(orders[0]), None, *megabytes(taken)])
    lists = len(orders) * np.dtype(np.int32).itemsize * benchmark.indexed
    rows.append(["two lists of window numbers in its place", benchmark.indexed, None, *megabytes(lists)])
    return ["memory", "windows", "processor s", "MB", f"MB of {benchmark.corpora} corpora"], rows


def preparation(benchmark: Benchmark, folder: Path) -> Table:
    """A folder of recordings from beginning to end."""
    if benchmark.source is None:
        raise SystemExit("Give --source: a folder of recordings to prepare.")
    options = corpus_module(benchmark.corpus).Options(jobs=benchmark.jobs)
    begin = time.perf_counter()
    report = prepare(benchmark.corpus, benchmark.source, folder / "prepared", options)
    elapsed = time.perf_counter() - begin
    hours = sum(montage.seconds for montage in report.info.montages) / 3600
    return ["preparation", "seconds (wall)", "hours of signal"], [[str(benchmark.source), elapsed, hours]]


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
