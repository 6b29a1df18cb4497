from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.writer import finish_configuration, write_shard
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import ConfigurationInfo, CorpusInfo, record_features
from labram_jax.montage import ELECTRODES


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Corpus]:
    """Writes a corpus of random windows: `montages` is a list of (electrodes, seconds, {split: windows})."""

    def make(name: str, montages, label: str | None = "class", outputs: int | None = None) -> Corpus:
        generator = np.random.default_rng(len(name))
        folder, configurations = tmp_path / name, []
        for electrodes, seconds, splits in montages:
            directory = folder / f"{electrodes}ch-{seconds}s"
            features = record_features(electrodes, seconds, "float16", label, outputs)
            shards = {}
            for split, windows in splits.items():
                half = windows // 2
                shards[split] = []
                for part, numbers in enumerate((range(half), range(half, windows))):
                    path = folder / "shards" / f"{directory.name}-{split}-{part}"
                    records = (_record(i, electrodes, seconds, label, outputs, generator) for i in numbers)
                    shards[split].append((path, write_shard(path, records, features)))
            counts = finish_configuration(directory, features, shards, {"corpus": name})
            configurations.append(ConfigurationInfo(directory.name, ELECTRODES[:electrodes], seconds, counts))
        classes = ("closed", "open") if label == "class" else None
        CorpusInfo(name, tuple(configurations), classes, label, outputs).write(folder)
        return Corpus.open(folder)

    return make


def _record(number, electrodes, seconds, label, outputs, generator):
    record = {
        "eeg": generator.normal(scale=30, size=(electrodes, seconds * 200)).astype(np.float16),
        "subject": f"s{number % 3}",
        "recording": f"s{number % 3}/rest",
        "start_seconds": float(number),
    }
    if label == "class":
        record["label"] = number % 2
    elif label == "vector":
        record["label"] = np.arange(outputs, dtype=np.float32) + number
    return record
