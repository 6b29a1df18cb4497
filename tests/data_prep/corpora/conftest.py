"""Windows of a prepared corpus, read back as everybody reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from labram_jax import open_corpus
from labram_jax.data.schema import SPLITS
from labram_jax.data.views import Window
from labram_jax.data_prep.corpora.tuh import ELECTRODES


@pytest.fixture
def windows_of() -> Callable[..., list[tuple[str, Window]]]:
    """Gives `windows_of(folder, seconds, stride)`: (split, window) of a corpus, in the order of its recordings."""

    def read(folder: Path, seconds: int, stride: float | None = None) -> list[tuple[str, Window]]:
        corpus = open_corpus(folder)
        return [
            (split, window)
            for split in SPLITS
            for window in corpus.windows(split, seconds=seconds, stride=stride or seconds)
        ]

    return read


@pytest.fixture
def write_tuh(write_edf) -> Callable[..., Path]:
    """Gives `write_tuh(name, seconds=, reference=, without=)`: an EDF with the channels of a TUH file.

    They stand in another order than the protocol's, among some that it leaves out; `without` names one that is lacking.
    """

    def write(name: str, seconds: float = 21.0, reference: str = "REF", without: str | None = None) -> Path:
        montage = [f"EEG {electrode}-{reference}" for electrode in reversed(ELECTRODES) if electrode != without]
        channels = [*montage[:5], "EEG EKG1-REF", *montage[5:], "EEG 26-REF", "EEG LOC-REF", "IBI"]
        return write_edf(name, rate=100.0, seconds=seconds, names=channels, seed=sum(name.encode()))

    return write
