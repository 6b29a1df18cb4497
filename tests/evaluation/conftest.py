"""A small corpus whose classes differ in alpha power, as eyes open and closed do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_prep.writer import finish_configuration, write_shard
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import ConfigurationInfo, CorpusInfo, record_features

ELECTRODES = ("FP1", "FP2", "C3", "C4", "CZ", "O1", "O2", "PZ")
SECONDS = 2


@pytest.fixture
def alpha_corpus(tmp_path: Path) -> Callable[..., Corpus]:
    """Writes a corpus with `windows` {split: count} for each montage; odd windows have alpha and label 1.

    With `label` "vector" a window's two targets are its alpha amplitude and the negative of it.
    """

    def make(
        name: str = "eyes", montages=(ELECTRODES,), windows: dict[str, int] | None = None, label: str = "class"
    ) -> Corpus:
        windows = windows or {"train": 24, "validation": 6, "test": 12}
        classes, outputs = (("open", "closed"), None) if label == "class" else (None, 2)
        generator = np.random.default_rng(0)
        folder, configurations = tmp_path / name, []
        for number, electrodes in enumerate(montages):
            directory = folder / f"{len(electrodes)}ch-{SECONDS}s-{number}"
            features = record_features(len(electrodes), SECONDS, "float16", label, outputs)
            shards = {}
            for split, count in windows.items():
                records = [_record(index, len(electrodes), label, generator) for index in range(count)]
                path = folder / "shards" / f"{directory.name}-{split}"
                shards[split] = [(path, write_shard(path, records, features))]
            counts = finish_configuration(directory, features, shards, {"corpus": name})
            configurations.append(ConfigurationInfo(directory.name, electrodes, SECONDS, counts))
        CorpusInfo(name, tuple(configurations), classes, label, outputs).write(folder)
        return Corpus.open(folder)

    return make


def _record(index: int, electrodes: int, label: str, generator: np.random.Generator) -> dict:
    time = np.arange(SECONDS * 200) / 200
    phase = generator.uniform(0, 2 * np.pi, (electrodes, 1))
    amplitude = 3.0 + 12 * (index % 2)
    alpha = amplitude * np.sin(2 * np.pi * 10 * time + phase)
    noise = generator.normal(scale=10, size=(electrodes, len(time)))
    return {
        "eeg": (alpha + noise).astype(np.float16),
        "label": index % 2 if label == "class" else np.array([amplitude, -amplitude], dtype=np.float32),
        "subject": "s0",
        "recording": "s0/rest",
        "start_seconds": float(index * SECONDS),
    }
