"""What BIDS says beside a recording: subjects, channels, events, participants; also in incomplete datasets."""

from pathlib import Path

import numpy as np
import pytest
from sentences import refuses

from labram_jax.data_prep.readers.bids import Event, find_sidecar, open_bids, participant_value, read_events, subject_of

RECORDING = "sub-07/ses-1/eeg/sub-07_ses-1_task-rest_eeg.edf"


@pytest.fixture
def dataset(write_edf) -> Path:
    """A dataset of one recording (Fp1 Fp2 C3 C4 O1 O2) and nothing else."""
    return write_edf(RECORDING).parents[3]


def write(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(row.replace(" ", "\t") for row in rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        (RECORDING, "sub-07"),
        ("sub-01/eeg/rest.edf", "sub-01"),
        ("deep/sub-01/sub-02_eeg.edf", "sub-02"),
        ("anna/session1/rest.edf", None),
        ("Subject03_2.edf", None),
        ("sub-/a-b-c_.edf", None),
    ],
)
def test_only_bids_names_say_the_subject(path, subject):
    assert subject_of(Path(path)) == subject


@pytest.mark.parametrize(
    "sidecar",
    [
        "sub-07/ses-1/eeg/sub-07_ses-1_task-rest_channels.tsv",
        "sub-07/ses-1/eeg/sub-07_ses-1_channels.tsv",
        "sub-07/sub-07_task-rest_channels.tsv",
        "task-rest_channels.tsv",
    ],
)
def test_a_sidecar_may_lie_higher_up(dataset, sidecar):
    write(dataset / sidecar, "name type", "C3 EEG")
    assert find_sidecar(dataset / RECORDING, "channels") == dataset / sidecar


@pytest.mark.parametrize(
    "other",
    [
        "sub-07/ses-1/eeg/sub-07_ses-1_task-rest_run-2_channels.tsv",
        "sub-07/ses-1/eeg/sub-07_ses-1_task-sleep_channels.tsv",
        "task-sleep_channels.tsv",
    ],
)
def test_the_sidecar_of_another_recording_is_not_taken(dataset, other):
    write(dataset / other, "name type", "C3 EEG")
    assert find_sidecar(dataset / RECORDING, "channels") is None
    assert find_sidecar(dataset / "notes.edf", "channels") is None


@pytest.mark.parametrize("folder", ["flat", "[2024] study (1)/sub-01/eeg", "x/sub-01"])
def test_folders_of_any_name_and_depth_will_do(tmp_path, folder):
    for name in ("sub-01_task-rest_split-01_eeg.fif", "sub-01_task-rest_channels.tsv", "sub-02_channels.tsv"):
        write(tmp_path / folder / name, "name type", "C3 EEG")
    found = find_sidecar(tmp_path / folder / "sub-01_task-rest_split-01_eeg.fif", "channels")
    assert found == tmp_path / folder / "sub-01_task-rest_channels.tsv"


def test_the_nearest_sidecar_counts(dataset):
    write(dataset / "task-rest_channels.tsv", "name type", "C3 EEG")
    nearer = write(dataset / "sub-07/sub-07_channels.tsv", "name type", "C3 EEG")
    assert find_sidecar(dataset / RECORDING, "channels") == nearer


def test_channels_say_what_is_eeg_and_what_is_bad(dataset):
    write(
        (dataset / RECORDING).with_name("sub-07_ses-1_task-rest_channels.tsv"),
        *("name type status", "Fp1 eog good", "Fp2 n/a n/a", "C3 EEG Bad", "C4 EEG good", "O1 MISC bad", "Oz EEG bad"),
    )
    reader = open_bids(dataset / RECORDING)
    header = reader.header
    assert header.channels == ("Fp2", "C3", "C4", "O2") and header.marked_bad == {"C3"}
    assert set(header.others) == {"Fp1", "O1"} and "declared as MISC by sub-07" in header.others["O1"]
    assert any("names 1 channel(s) that the recording has not (Oz)" in note for note in header.notes)
    plain = open_bids(dataset / RECORDING).microvolts(["C4", "C3"], 100, 300)
    assert plain.shape == (2, 200) and 5 < plain.std() < 40


def test_without_sidecars_a_recording_is_what_it_is(dataset):
    assert open_bids(dataset / RECORDING).header.channels == ("Fp1", "Fp2", "C3", "C4", "O1", "O2")


def test_participants_that_are_not_listed_are_noted(dataset):
    file = write(dataset / "participants.tsv", "participant_id group", "sub-08 A")
    assert open_bids(dataset / RECORDING).header.notes[-1:] == ("participants.tsv does not list sub-07.",)
    write(file, "participant_id group", "sub-07 A", "sub-08 n/a")
    assert not any("participants" in note for note in open_bids(dataset / RECORDING).header.notes)
    assert participant_value(dataset / RECORDING, "group") == "A"
    with refuses("does not say the group of sub-08"):
        participant_value(dataset / "sub-08/eeg/sub-08_task-rest_eeg.edf", "group")
    with refuses("no column 'sex': its columns are participant_id, group"):
        participant_value(dataset / RECORDING, "sex")
    with refuses("has no BIDS name"):
        participant_value(dataset / "rest.edf", "group")
    file.unlink()
    with refuses("no participants.tsv"):
        participant_value(dataset / RECORDING, "group")


def test_events_are_read_with_their_texts(dataset):
    file = write(
        (dataset / RECORDING).with_name("sub-07_ses-1_task-rest_events.tsv"),
        *("onset duration trial_type", "1.5 2 left", "4 n/a right", "n/a 1 left", "6 0 n/a"),
    )
    assert read_events(dataset / RECORDING, "trial_type") == [Event(1.5, 2.0, "left"), Event(4.0, 0.0, "right")]
    with refuses("no column 'value'"):
        read_events(dataset / RECORDING, "value")
    write(file, "onset duration trial_type")
    with refuses("lists no event"):
        read_events(dataset / RECORDING, "trial_type")
    file.unlink()
    with refuses("no events.tsv"):
        read_events(dataset / RECORDING, "trial_type")


def test_a_sidecar_that_cannot_be_read_is_the_reason(dataset):
    file = (dataset / RECORDING).with_name("sub-07_ses-1_task-rest_channels.tsv")
    file.write_bytes(np.arange(256, dtype=np.uint8).tobytes())
    with refuses("channels.tsv cannot be read as a table"):
        open_bids(dataset / RECORDING)
    write(file, "label type", "C3 EEG")
    with refuses("no column 'name'"):
        open_bids(dataset / RECORDING)


def test_units_of_channels_count_where_the_file_has_none(dataset):
    path = dataset / RECORDING
    stated = open_bids(path).microvolts(["C3", "C4"], 0, 100)
    header = bytearray(path.read_bytes())
    signals, c3 = int(header[252:256]), 2
    units = 256 + signals * 96 + 8 * c3
    assert header[units : units + 2] == b"uV"
    header[units : units + 8] = b" " * 8
    path.write_bytes(header)
    write(path.with_name("sub-07_ses-1_task-rest_channels.tsv"), "name type units", "C3 EEG mV", "C4 EEG mV")
    np.testing.assert_allclose(open_bids(path).microvolts(["C3", "C4"], 0, 100), stated * [[1000], [1]])
    np.testing.assert_allclose(open_bids(path, unit="uV").microvolts(["C3", "C4"], 0, 100), stated)
