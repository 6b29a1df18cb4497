"""Times the loader on a corpus of random windows, and the preparation of a folder of recordings.

    python benchmarks/data.py
    python benchmarks/data.py --source recordings/eegmat --corpus eegmat

The loader's figures are windows per second of processor time, which is what one core delivers; the wall clock
beside it also feels whatever else the machine does.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.writer import finish_configuration, write_shard
from labram_jax.data import pipeline
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import SAMPLES, ConfigurationInfo, CorpusInfo, record_features
from labram_jax.evaluation.tables import text_table
from labram_jax.montage import ELECTRODES

# Electrodes x seconds of the mixture: what corpora look like when windows have about 256 patches.
MONTAGES = ((62, 4), (64, 4), (56, 4), (32, 8), (23, 10), (21, 12), (19, 13), (14, 16))


@dataclass(frozen=True)
class Benchmark:
    """Times the loader and, if a source is given, the preparation."""

    electrodes: int = 23
    """Electrodes of the corpus of one montage."""
    seconds: int = 10
    """Seconds of its windows."""
    windows: int = 512
    """Windows written for each montage."""
    batch_rows: int = 32
    """Rows of a batch, of 256 patch slots each."""
    batches: int = 40
    """Batches read for each figure."""
    source: Path | None = None
    """A folder of recordings to prepare."""
    corpus: str = "folder"
    """Which corpus the folder holds, as `labram-jax prepare` calls it."""
    jobs: int | None = None
    """Processes that prepare; by default one for each core."""


def main(benchmark: Benchmark) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(text_table(*loader_table(benchmark, Path(folder))))
        if benchmark.source is not None:
            print()
            print(text_table(*preparation_table(benchmark, Path(folder))))


def loader_table(benchmark: Benchmark, folder: Path) -> tuple[list[str], list[list[object]]]:
    montage = (benchmark.electrodes, benchmark.seconds)
    one = [_random_corpus(folder / "one", montage, benchmark.windows)]
    many = [_random_corpus(folder / f"mix{i}", pair, benchmark.windows) for i, pair in enumerate(MONTAGES)]
    shape = {"batch_rows": benchmark.batch_rows, "patch_slots": 256, "segments": 8, "seed": 0}
    name = f"{montage[0]} x {montage[1] * SAMPLES}"
    source = one[0].source(one[0].configurations[0].name, "train")
    order = np.random.default_rng(0).integers(len(source), size=benchmark.batch_rows * benchmark.batches)
    source[0]  # opens the shard

    def read() -> int:
        return sum(len(source[number].eeg) > 0 for number in order)

    rows = [
        [f"{name}, reading alone", *_rate(read), None],
        [f"{name}, fine-tuning batches", *_batches(benchmark, one, masked=False, **shape)],
        [f"{name}, pretraining batches", *_batches(benchmark, one, masked=True, **shape)],
        [f"{len(MONTAGES)} montages mixed, pretraining", *_batches(benchmark, many, masked=True, **shape)],
    ]
    return ["loader", "windows / s / core", "windows / s (wall)", "padding"], rows


def preparation_table(benchmark: Benchmark, folder: Path) -> tuple[list[str], list[list[object]]]:
    begin = time.perf_counter()
    prepare(benchmark.corpus, benchmark.source, folder / "prepared", PrepareOptions(jobs=benchmark.jobs))
    elapsed = time.perf_counter() - begin
    info = Corpus.open(folder / "prepared").info
    windows = sum(sum(entry.splits.values()) for entry in info.configurations)
    return ["preparation", "seconds", "windows"], [[str(benchmark.source), elapsed, windows]]


def _batches(benchmark: Benchmark, corpora: list[Corpus], masked: bool, **shape) -> tuple[float, float, float]:
    dataset = pipeline.training(corpora, masked=masked, **shape)
    shape.pop("batch_rows")
    padding = pipeline.training_rows(corpora, **shape).padding
    dataset[0]  # opens the shards

    def read() -> int:
        return sum(int((dataset[step]["window_ids"] >= 0).sum()) for step in range(1, benchmark.batches + 1))

    return *_rate(read), padding


def _rate(work: Callable[[], int]) -> tuple[float, float]:
    """Returns windows per second of processor time, and of wall clock; `work` returns its number of windows."""
    wall, processor = time.perf_counter(), time.process_time()
    windows = work()
    return windows / (time.process_time() - processor), windows / (time.perf_counter() - wall)


def _random_corpus(folder: Path, montage: tuple[int, int], windows: int) -> Corpus:
    electrodes, seconds = montage
    features = record_features(electrodes, seconds, "float16", "class")
    noise = np.random.default_rng(electrodes).normal(scale=30, size=(electrodes, seconds * SAMPLES))
    records = (
        {
            "eeg": np.roll(noise, number, axis=1).astype(np.float16),
            "label": number % 2,
            "subject": f"s{number % 20}",
            "recording": f"s{number % 20}/rest",
            "start_seconds": float(number),
        }
        for number in range(windows)
    )
    name, shard = f"{electrodes}ch-{seconds}s", folder / "shard"
    shards = {"train": [(shard, write_shard(shard, records, features))]}
    counts = finish_configuration(folder / name, features, shards, {})
    configuration = ConfigurationInfo(name, ELECTRODES[:electrodes], seconds, counts)
    CorpusInfo(folder.name, (configuration,), ("a", "b"), "class").write(folder)
    return Corpus.open(folder)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
