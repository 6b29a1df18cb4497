import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.corpora.official_hdf5 import Options, open_group, table
from labram_jax.data_prep.prepare import prepare
from labram_jax.data_prep.table import split_table

GOLDEN = Path(__file__).parents[2] / "golden"
EXPECTED = json.loads((GOLDEN / "loader_expected.json").read_text())


@pytest.mark.parametrize(
    "case", EXPECTED["cases"], ids=lambda c: f"{c['window']}-{c['stride']}-{c['start_percentage']}"
)
def test_windows_are_those_of_the_official_loader(case, tmp_path, windows_of):
    seconds, stride = case["window"] // 200, case["stride"] / 200
    options = Options(
        window_seconds=seconds,
        stride_seconds=stride,
        start_fraction=case["start_percentage"],
        end_fraction=case["end_percentage"],
        dtype="float32",
        jobs=1,
    )
    report = prepare("official-hdf5", GOLDEN, tmp_path / "out", options)
    assert [entry.electrodes for entry in report.info.montages] == [tuple(case["ch_names"])]
    windows = windows_of(tmp_path / "out", seconds, stride)
    assert len(windows) == case["length"]
    assert [window.eeg[0, 0] for _, window in windows] == case["first_sample_ch0"]
    channels, samples = np.mgrid[: len(case["ch_names"]), : case["window"]]
    for split, window in windows:
        np.testing.assert_array_equal(window.eeg, window.eeg[0, 0] + samples + 1e4 * channels)
        assert split == "train" and window.label is None and not window.bad.any()


@pytest.fixture
def golden_copy(tmp_path):
    (tmp_path / "files").mkdir()
    return Path(shutil.copy(GOLDEN / "loader_0.hdf5", tmp_path / "files" / "a.hdf5"))


def test_groups_that_break_the_layout_are_listed(golden_copy):
    with h5py.File(golden_copy, "a") as file:
        file["sub_a/eeg"].attrs["rsFreq"] = 250
        del file["sub_b/eeg"].attrs["chOrder"]
        file["sub_d/eeg"] = np.zeros((3, 800))
        file["sub_d/eeg"].attrs.update(rsFreq=200, chOrder=["FP1", "FZ"])
        file["sub_e"] = np.zeros(3)
    (golden_copy.parent / "b.hdf5").write_bytes(b"no such file")
    planned = table(golden_copy.parent, Options())
    assert planned.rows["recording"].tolist() == ["a/sub_c"]
    reasons = dict(planned.unusable)
    for name, reason in (
        ("a.hdf5/sub_a", "250 Hz"),
        ("a.hdf5/sub_b", "chOrder"),
        ("a.hdf5/sub_d", "names 2 electrodes"),
        ("a.hdf5/sub_e", "not the layout"),
        ("b.hdf5", "not an HDF5 file"),
    ):
        assert reason in reasons[str(golden_copy.parent / name)]


def test_fractions_that_leave_a_recording_without_a_window_are_told(golden_copy):
    planned = table(golden_copy, Options(window_seconds=8, stride_seconds=1, start_fraction=0.0, end_fraction=0.9))
    assert planned.rows["recording"].tolist() == ["a/sub_a", "a/sub_b"]
    ((path, reason),) = planned.unusable
    assert path.endswith("a.hdf5/sub_c") and "hold no window of 8 s between the fractions 0 and 0.9" in reason


def test_without_fractions_every_recording_is_taken_whole(golden_copy):
    rows = table(golden_copy, Options(window_seconds=8)).rows
    assert rows["recording"].tolist() == ["a/sub_a", "a/sub_b", "a/sub_c"]
    assert (rows["start"] == 0).all() and rows["stop"].isna().all()


def test_only_the_samples_asked_for_are_read(golden_copy):
    reader = open_group(golden_copy, "sub_a")
    with h5py.File(golden_copy) as file:
        whole = file["sub_a/eeg"][:]
    channels = reader.header.channels
    assert (reader.header.samples, reader.header.pieces) == (whole.shape[1], ((0, whole.shape[1]),))
    read = reader.microvolts([channels[1], channels[0]], 100, 300)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, whole[[1, 0], 100:300])
    with refuses("group 'nobody'"):
        open_group(golden_copy, "nobody")


def test_chosen_electrodes_are_taken(golden_copy, tmp_path, windows_of):
    prepare("official-hdf5", golden_copy, tmp_path / "out", Options(electrodes=("C3", "FP1"), dtype="float32", jobs=1))
    windows = windows_of(tmp_path / "out", 4)
    assert windows
    for _, window in windows:
        np.testing.assert_array_equal(window.eeg[0], window.eeg[1] + 3e4)


def test_whole_recordings_are_split_on_request(golden_copy):
    planned = table(golden_copy, Options(split_by="subject"))
    assert sorted(split_table(planned.rows, planned.split, {})["split"]) == ["test", "train", "validation"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"start_fraction": 0.5, "end_fraction": 0.5}, "start < end"),
        ({"window_seconds": 0}, "at least 1 s"),
        ({"stride_seconds": 0.0}, "at least one sample"),
        ({"split_by": "time"}, "'time': choose one of none, subject"),
    ],
)
def test_impossible_options_are_refused(options, says):
    with refuses(says):
        Options(**options)


def test_a_folder_without_such_files_is_refused(tmp_path):
    with refuses("holds no HDF5 file"):
        table(tmp_path, Options())
