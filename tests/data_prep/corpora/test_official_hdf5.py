import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.corpora import planner
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from labram_jax.errors import InputError

GOLDEN = Path(__file__).parents[2] / "golden"
EXPECTED = json.loads((GOLDEN / "loader_expected.json").read_text())


@pytest.mark.parametrize(
    "case", EXPECTED["cases"], ids=lambda c: f"{c['window']}-{c['stride']}-{c['start_percentage']}"
)
def test_windows_are_those_of_the_official_loader(case, tmp_path, windows_of):
    options = PrepareOptions(
        window_seconds=case["window"] // 200,
        stride_seconds=case["stride"] / 200,
        start_fraction=case["start_percentage"],
        end_fraction=case["end_percentage"],
        dtype="float32",
        jobs=1,
    )
    report = prepare("official-hdf5", GOLDEN, tmp_path / "out", options)
    assert [c.electrodes for c in report.info.configurations] == [tuple(case["ch_names"])]
    windows = windows_of(tmp_path / "out")
    assert len(windows) == case["length"]
    assert [w["eeg"][0, 0] for w in windows] == case["first_sample_ch0"]
    channels, samples = np.mgrid[: len(case["ch_names"]), : case["window"]]
    for window in windows:
        np.testing.assert_array_equal(window["eeg"], window["eeg"][0, 0] + samples + 1e4 * channels)
        assert window["split"] == "train"
        assert "label" not in window


@pytest.fixture
def golden_copy(tmp_path):
    (tmp_path / "files").mkdir()
    return Path(shutil.copy(GOLDEN / "loader_0.hdf5", tmp_path / "files" / "a.hdf5"))


def plan(source, **options):
    return planner("official-hdf5")(source, PrepareOptions(**options))


def test_groups_that_break_the_layout_are_listed(golden_copy):
    with h5py.File(golden_copy, "a") as file:
        file["sub_a/eeg"].attrs["rsFreq"] = 250
        del file["sub_b/eeg"].attrs["chOrder"]
        file["sub_d/eeg"] = np.zeros((3, 800))
        file["sub_d/eeg"].attrs.update(rsFreq=200, chOrder=["FP1", "FZ"])
        file["sub_e"] = np.zeros(3)
    (golden_copy.parent / "b.hdf5").write_bytes(b"no such file")
    planned = plan(golden_copy.parent)
    assert [r.recording for r in planned.recordings] == ["a/sub_c"]
    reasons = dict(planned.unusable)
    for name, reason in (
        ("a.hdf5/sub_a", "250 Hz"),
        ("a.hdf5/sub_b", "chOrder"),
        ("a.hdf5/sub_d", "names 2 electrodes"),
        ("a.hdf5/sub_e", "not the layout"),
        ("b.hdf5", "not an HDF5 file"),
    ):
        assert reason in reasons[str(golden_copy.parent / name)]


def test_a_recording_shorter_than_a_window_is_reported(golden_copy, tmp_path, windows_of):
    options = PrepareOptions(window_seconds=8, stride_seconds=1, dtype="float32", jobs=1)
    report = prepare("official-hdf5", golden_copy, tmp_path / "out", options)
    assert [entry.recording for entry in report.unusable] == ["a/sub_c"]
    assert {w["recording"] for w in windows_of(tmp_path / "out")} == {b"a/sub_a", b"a/sub_b"}


def test_chosen_electrodes_are_taken(golden_copy, tmp_path, windows_of):
    options = PrepareOptions(window_seconds=4, electrodes=("C3", "FP1"), dtype="float32", jobs=1)
    prepare("official-hdf5", golden_copy, tmp_path / "out", options)
    for window in windows_of(tmp_path / "out"):
        np.testing.assert_array_equal(window["eeg"][0], window["eeg"][1] + 3e4)


def test_whole_recordings_are_split_on_request(golden_copy):
    recordings = plan(golden_copy, split_by="subject").recordings
    assert sorted(r.spans[0].split for r in recordings) == ["test", "train", "validation"]


def test_a_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no HDF5 file"):
        plan(tmp_path)
