"""A fixture: a small corpus whose classes differ in alpha power, as eyes open and closed do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_corpora import MadeRecording, make_corpus

from labram_jax.data.corpus import Corpus

ELECTRODES = ("FP1", "FP2", "C3", "C4", "CZ", "O1", "O2", "PZ")
SECONDS = 2


@pytest.fixture
def alpha_corpus(tmp_path: Path) -> Callable[..., Corpus]:
    """Writes a corpus with `windows` {split: count} for each montage; odd windows have alpha and label 1.

    With `label` "vector" a window's two targets are its alpha amplitude and the negative of it. `bads` are marked as
    bad in every recording.
    """

    def make(
        name: str = "eyes",
        montages=(ELECTRODES,),
        windows: dict[str, int] | None = None,
        label: str = "class",
        bads=(),
    ) -> Corpus:
        generator, recordings = np.random.default_rng(0), []
        for number, electrodes in enumerate(montages):
            for split, count in (windows or {"train": 24, "validation": 6, "test": 12}).items():
                made = [_window(index, len(electrodes), label, generator) for index in range(count)]
                spans = [(n * SECONDS, (n + 1) * SECONDS, split, target) for n, (_, target) in enumerate(made)]
                eeg = np.concatenate([eeg for eeg, _ in made], axis=1)
                recordings.append(MadeRecording(f"{split}{number}", split, electrodes, eeg, spans, bads=bads))
        classes = ("open", "closed") if label == "class" else None
        return make_corpus(tmp_path / name, recordings, classes, window_seconds=SECONDS)

    return make


def _window(index: int, electrodes: int, label: str, generator: np.random.Generator):
    time = np.arange(SECONDS * 200) / 200
    phase = generator.uniform(0, 2 * np.pi, (electrodes, 1))
    amplitude = 3.0 + 12 * (index % 2)
    alpha = amplitude * np.sin(2 * np.pi * 10 * time + phase)
    noise = generator.normal(scale=10, size=(electrodes, len(time)))
    return alpha + noise, index % 2 if label == "class" else (amplitude, -amplitude)
