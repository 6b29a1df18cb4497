import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.official_pickles import Options, table
from labram_jax.data_prep.corpora.tuab import CLASSES as TUAB_CLASSES
from labram_jax.data_prep.corpora.tuev import CLASSES as TUEV_CLASSES
from labram_jax.data_prep.corpora.tuh import ELECTRODES
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.readers.pickle_reader import open_windows


def signal(name: str, number: int, seconds: int) -> np.ndarray:
    """Microvolts as MNE gives them: float64."""
    return np.random.default_rng((sum(name.encode()), number)).normal(scale=20, size=(23, 200 * seconds))


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.fixture
def tuab(tmp_path):
    """Two recordings to train, one to validate, one to test; more than ten windows, so that numbers must sort."""
    root = tmp_path / "tuab"
    for place, label, windows in (
        ("train/aaaaaaaq_s004_t000", 1, 11), ("train/aaaaaaar_s001_t001", 0, 1),
        ("val/aaaaaabc_s001_t000", 1, 2), ("test/aaaaabdo_s003_t000", 0, 2),
    ):  # fmt: skip
        for number in range(windows):
            content = {"X": signal(place, number, 10), "y": label}
            write(root / f"{place}_{number}.pkl", content, protocol=2 + number % 4)
    return root


@pytest.fixture
def tuev(tmp_path):
    root = tmp_path / "tuev"
    for place, labels in (
        ("processed_train/aaaaaaar_00000001", (6, 1)), ("processed_eval/aaaaaaas_00000002", (2,)),
        ("processed_test/bckg_001_a_", (3, 5)),
    ):  # fmt: skip
        for number, label in enumerate(labels):
            channel = np.array([number], float)
            content = {
                "signal": signal(place, number, 5),
                "offending_channel": channel,
                "label": np.array([label], float),
            }
            write(root / f"{place}-{number}.pkl", content)
    return root


def build(source: Path, out: Path):
    return prepare("official-pickles", source, out, Options(dtype="float32", jobs=1))


def test_tuab_windows_move_over(tuab, tmp_path, windows_of):
    report = build(tuab, tmp_path / "out")
    assert report.info.classes == TUAB_CLASSES and report.info.filters is None
    assert [entry.electrodes for entry in report.info.montages] == [ELECTRODES]
    windows = windows_of(tmp_path / "out", 10)
    assert len(windows) == 16
    for split, window in windows:
        place, _, name = window.recording.partition("/")
        number = round(window.start_seconds / 10)
        expected = signal(window.recording, number, 10).astype(np.float32)
        np.testing.assert_array_equal(window.eeg, expected)
        assert split == {"train": "train", "val": "validation", "test": "test"}[place]
        assert window.label == (name in ("aaaaaaaq_s004_t000", "aaaaaabc_s001_t000"))
        assert window.subject == name[:8] and not window.bad.any()


def test_no_window_crosses_from_one_pickle_to_the_next(tuab, tmp_path, windows_of):
    build(tuab, tmp_path / "out")
    windows = windows_of(tmp_path / "out", 4, 1)
    assert len(windows) == 16 * 7
    assert {round(window.start_seconds) % 10 for _, window in windows} == set(range(7))


def test_a_recording_is_read_window_by_window(tuab, monkeypatch):
    name = "train/aaaaaaaq_s004_t000"
    reader = open_windows(tuab / f"{name}_0.pkl", "0,1,2,10")
    assert reader.header.samples == 8000 and reader.header.pieces[1] == (2000, 4000)
    opened = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read_bytes(path))
    eeg = reader.microvolts(["A1", "FP1"], 5990, 6010)
    assert opened == ["aaaaaaaq_s004_t000_2.pkl", "aaaaaaaq_s004_t000_10.pkl"]
    rows = [ELECTRODES.index("A1"), 0]
    both = np.concatenate([signal(name, 2, 10)[rows, -10:], signal(name, 10, 10)[rows, :10]], axis=1)
    np.testing.assert_array_equal(eeg, both)


def test_tuev_windows_move_over(tuev, tmp_path, windows_of):
    report = build(tuev, tmp_path / "out")
    assert report.info.classes == TUEV_CLASSES
    found = {
        (window.recording, window.start_seconds): (split, window.label, window.subject)
        for split, window in windows_of(tmp_path / "out", 5)
    }
    assert found == {
        ("processed_train/aaaaaaar_00000001", 0.0): ("train", 5, "aaaaaaar"),
        ("processed_train/aaaaaaar_00000001", 5.0): ("train", 0, "aaaaaaar"),
        ("processed_eval/aaaaaaas_00000002", 0.0): ("validation", 1, "aaaaaaas"),
        ("processed_test/bckg_001_a_", 0.0): ("test", 2, "bckg_001_a_"),
        ("processed_test/bckg_001_a_", 5.0): ("test", 4, "bckg_001_a_"),
    }


def test_without_a_test_folder_the_evaluation_recordings_are_the_test_set(tuev):
    for path in (tuev / "processed_test").iterdir():
        path.unlink()
    (tuev / "processed_test").rmdir()
    rows = table(tuev, Options()).rows
    assert dict(zip(rows["recording"], rows["split"], strict=True)) == {
        "processed_train/aaaaaaar_00000001": "train",
        "processed_eval/aaaaaaas_00000002": "test",
    }


class Mark:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "x")


def shared_lists(levels: int) -> list:
    """Lists that hold each other twice: an array of them would have 2 ** levels numbers."""
    return [1, 1] if levels == 0 else [shared_lists(levels - 1)] * 2


def test_windows_that_cannot_be_used_are_listed_and_run_nothing(tuab, tmp_path):
    train, mark, good = tuab / "train", tmp_path / "mark", signal("", 0, 10)
    bad = {
        "aaaaaaba_s001_t000_0": ({"X": Mark(mark), "y": 1}, "asks for .*open, .* nothing was run"),
        "aaaaaabb_s001_t000_0": ({"X": good[:16], "y": 1}, r"float64 numbers of shape \[16, 2000\]"),
        "aaaaaabd_s001_t000_0": ({"X": good, "y": 2}, "no label of TUAB"),
        "aaaaaabe_s001_t000_0": ({"Z": good}, "no window of the official scripts"),
        "aaaaaabh_s001_t000_0": ({"X": good, "y": shared_lists(40)}, "no label of TUAB"),
        "aaaaaabf_s001_t000_0": ({"X": good.tolist(), "y": 1}, "holds no numbers"),
        "unnumbered": ({"X": good, "y": 1}, "is not named RECORDING_NUMBER.pkl"),
    }
    for name, (content, _) in bad.items():
        write(train / f"{name}.pkl", content)
    (train / "aaaaaabg_s001_t000_0.pkl").write_bytes(pickle.dumps({"X": good, "y": 1})[:1000])
    planned = table(tuab, Options())
    reasons = {Path(path).stem: reason for path, reason in planned.unusable}
    assert reasons.keys() == {*bad, "aaaaaabg_s001_t000_0"} and "is damaged" in reasons["aaaaaabg_s001_t000_0"]
    for name, (_, reason) in bad.items():
        assert re.search(reason, reasons[name]), reasons[name]
    assert not mark.exists()
    assert planned.rows["recording"].nunique() == 4


def test_what_is_refused(tuab, tuev, tmp_path):
    with refuses("holds none of train, val, test"):
        table(tmp_path, Options())
    for path in (tuev / "processed_train").iterdir():
        path.rename(tuab / "train" / path.name)
    with refuses("windows of TUAB and of TUEV"):
        table(tuab, Options())


def test_jax_stays_out():
    room = "labram_jax.data_prep.corpora.official_pickles"
    code = f"import sys, {room}; assert not {{'jax', 'ml_dtypes', 'torch'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
