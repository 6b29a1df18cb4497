"""Windows of a prepared corpus, read back as training reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from data_prep.corpora.tuh import ELECTRODES
from labram_jax.data.schema import CorpusInfo


@pytest.fixture
def windows_of() -> Callable[[Path], list[dict]]:
    """Gives `windows_of(folder)`: every record of a corpus, in order, with its split and configuration added."""

    def read(folder: Path) -> list[dict]:
        return [
            {**record, "split": split, "configuration": configuration.name}
            for configuration in CorpusInfo.read(folder).configurations
            for split in configuration.splits
            for record in tfds.builder_from_directory(folder / configuration.name).as_data_source(split)
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
