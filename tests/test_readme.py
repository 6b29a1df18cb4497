"""The examples of the README run as they stand there, one after another."""

import re
import shutil
from pathlib import Path

import mne
import numpy as np
import pytest
from golden_data import FOLDER
from made_corpora import MadeRecording, make_corpus

import labram_jax

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder that holds what the examples name."""
    monkeypatch.chdir(tmp_path)
    eeg = np.random.default_rng(0).normal(scale=15, size=(3, 200 * 40))
    raw = mne.io.RawArray(eeg * 1e-6, mne.create_info(["EEG Fp1-REF", "Cz", "O2"], 200.0, "eeg"), verbose="ERROR")
    raw.set_annotations(mne.Annotations(2 + 3 * np.arange(12), 1, np.resize(["rest", "task"], 12).tolist()))
    Path("recordings").mkdir()
    mne.export.export_raw("recordings/sub-01.edf", raw, verbose="ERROR")
    shutil.copy(FOLDER / "labram.pth", "labram-base.pth")
    labram_jax.load(FOLDER / "vqnsp.pth").save("runs/tokenizer")
    recording = MadeRecording("a", "a", ("FP1", "CZ", "O2"), eeg, [(0, 40, "test", 0)])
    make_corpus(tmp_path / "corpora" / "mine", [recording], ("rest", "task"))
    return tmp_path


def test_examples_run_as_they_stand(place):
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    names: dict = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README.md, example {number + 1}", "exec"), names)
        if "scores" in names:
            assert names.pop("scores").shape == (2,)
    assert names["features"].shape[1] == 100 and names["codes"].shape[1:] == (3, 4)
    assert names["early"].shape == (10, 100) and set(names["labels"]) == {"rest", "task"}
    assert names["classifier"].config.classes == ("rest", "task")
