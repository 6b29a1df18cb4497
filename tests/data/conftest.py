from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_corpora import MadeRecording
from made_corpora import make_corpus as build_corpus

from labram_jax.data.corpus import Corpus
from labram_jax.montage import ELECTRODES


@pytest.fixture
def make_corpus(tmp_path: Path) -> Callable[..., Corpus]:
    """Writes a corpus of noise: `montages` is a list of (electrodes, {split: windows}), its window has `seconds`.

    The windows of a split follow each other in one recording, each a span with a label: its number modulo 2, or the
    vector number, number + 1, ...
    """

    def make(name: str, montages, label: str | None = "class", outputs: int = 2, seconds: int = 2, **options) -> Corpus:
        generator = np.random.default_rng(len(name))
        recordings = []
        for electrodes, splits in montages:
            for split, windows in splits.items():
                eeg = generator.normal(scale=30, size=(electrodes, windows * seconds * 200)).astype(np.float16)
                spans = [
                    (number * seconds, (number + 1) * seconds, split, _label(label, number, outputs))
                    for number in range(windows)
                ]
                own = f"{split}{electrodes}"
                recordings.append(MadeRecording(own, own, ELECTRODES[:electrodes], eeg, spans))
        classes = ("closed", "open") if label == "class" else None
        return build_corpus(tmp_path / name, recordings, classes, window_seconds=seconds, **options)

    return make


def _label(label: str | None, number: int, outputs: int):
    if label is None:
        return None
    return number % 2 if label == "class" else tuple(float(number + output) for output in range(outputs))
