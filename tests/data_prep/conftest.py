"""Small recordings, written as real files through MNE's exporters."""

from collections.abc import Callable
from pathlib import Path

import mne
import pytest
from made_up import MONTAGE, noise, raw_of
from small_table import paths, table

__all__ = ["paths", "table"]


@pytest.fixture
def write_edf(tmp_path: Path) -> Callable[..., Path]:
    """Gives `write(name, rate=, seconds=, names=, seed=, microvolts=)`, which returns the path of an EDF file."""

    def write(name, rate=128.0, seconds=20.0, names=MONTAGE, seed=0, microvolts=None) -> Path:
        if microvolts is None:
            microvolts = noise(len(names), rate, seconds, seed)
        path = tmp_path / "recordings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        mne.export.export_raw(path, raw_of(microvolts, rate, names), fmt="edf", verbose="ERROR")
        return path

    return write
