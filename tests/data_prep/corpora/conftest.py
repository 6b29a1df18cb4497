"""Windows of a prepared corpus, read back as training reads them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

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
