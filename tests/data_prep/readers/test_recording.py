"""Opening recordings of all formats: channels, pieces, annotations, notes."""

import datetime
import logging
import warnings

import mne
import numpy as np
import pytest
from file_writers import Signal, stamp, write_edf, write_gdf, write_persyst
from made_up import MONTAGE, noise, raw_of, saved, signals

from labram_jax.data_prep.readers.mne_reader import reader_of
from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.errors import InputError

RATE = 200.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.edf", "EDF+C"), ("a.bdf", "BDF+C"), ("a.vhdr", "BrainVision"), ("a.set", "EEGLAB"), ("a_raw.fif", "FIF")],
)
def test_formats_give_the_same_microvolts(tmp_path, name, kind):
    signal = noise(6, RATE, 5.0)
    reader = open_recording(saved(raw_of(signal, RATE), tmp_path / name))
    header = reader.header
    assert (header.channels, header.rate_hz, header.samples) == (MONTAGE, RATE, 1000)
    assert header.pieces == ((0, 1000),) and header.format == kind and header.seconds == 5.0
    assert not (header.others or header.marked_bad or header.excluded or header.annotations)
    np.testing.assert_allclose(reader.microvolts(MONTAGE, 0, 1000), signal, atol=0.1)
    some = reader.microvolts(["O2", "Fp1"], 301, 500)
    assert some.dtype == np.float64
    np.testing.assert_allclose(some, signal[[5, 0], 301:500], atol=0.1)
    assert reader.microvolts([], 0, 10).shape == (0, 10) and reader.microvolts(["C3"], 7, 7).shape == (1, 0)


def test_formats_that_cannot_be_exported(tmp_path):
    every = signals()
    signal = np.stack([entry.samples for entry in every])
    gdf = open_recording(write_gdf(tmp_path / "a.gdf", every, 100, [(0, 32766), (300, 32766), (400, 769)]))
    np.testing.assert_allclose(gdf.microvolts(MONTAGE, 0, 1000), signal, atol=1e-6)
    assert gdf.header.format == "GDF" and gdf.header.pieces == ((0, 300), (300, 1000))
    layout = write_persyst(tmp_path / "a.lay", signal, MONTAGE, 100, "0=10.0\n300=13.0\n700=99.0")
    persyst = open_recording(layout)
    names = [name.upper() for name in MONTAGE]
    np.testing.assert_allclose(persyst.microvolts(names, 0, 1000), signal, atol=1e-6)
    assert persyst.header.format == "Persyst" and persyst.header.pieces == ((0, 700), (700, 1000))


@pytest.mark.parametrize("first", [0.0, 3.005])
@pytest.mark.parametrize("date", [None, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)])
def test_a_fif_is_cut_at_its_skips_and_joins_wherever_its_clock_starts(tmp_path, first, date):
    raw = raw_of(noise(6, RATE, 40.0), RATE)
    raw.set_meas_date(date)
    marks = [(10.0, 5.0, "BAD_ACQ_SKIP"), (20.5, 0.0, "BAD boundary"), (20.5, 0.0, "EDGE boundary")]
    marks += [(25.0, 2.0, "bad_blink"), (30.25, 1.0, "T1")]
    raw.set_annotations(mne.Annotations(*zip(*marks, strict=True), orig_time=date))
    path = saved(raw.crop(first), tmp_path / "a_raw.fif", buffer_size_sec=0.5)
    header = open_recording(path).header
    begin = round(first * RATE)
    assert header.pieces == ((0, 2000 - begin), (3000 - begin, 4100 - begin), (4100 - begin, 8000 - begin))
    assert [entry.text for entry in header.excluded] == ["bad_blink"]
    assert header.excluded[0][:2] == pytest.approx((25.0 - first, 2.0), abs=1e-5)
    assert header.annotations[-1][:2] == pytest.approx((30.25 - first, 1.0), abs=1e-5)


def test_times_that_a_fif_rounds_are_those_of_samples(tmp_path):
    raw = mne.io.RawArray(noise(6, 250.0, 100.0) * 1e-6, mne.create_info(list(MONTAGE), 250.0, "eeg"), 98_765)
    raw.set_annotations(mne.Annotations([60.0, 70.0011], [4.0, 0.0], ["bad_blink", "T1"]))
    bad, trial = open_recording(saved(raw, tmp_path / "a_raw.fif")).header.annotations
    assert bad == (60.0, 4.0, "bad_blink")  # it touches no sample before
    assert trial.start_seconds == pytest.approx(70.0011, abs=1e-4) and trial.start_seconds != 70.0


def test_samples_are_left_out_where_a_fif_does_not_tell_the_cut_exactly(tmp_path):
    raw = raw_of(noise(6, RATE, 10.0), RATE, annotations=[(5.0, 0.0, "BAD boundary")])
    later = mne.io.RawArray(raw.get_data(), raw.info, first_samp=round(80_000 * RATE), verbose="ERROR")
    later.set_annotations(raw.annotations)
    (first, second) = open_recording(saved(later, tmp_path / "a_raw.fif")).header.pieces
    assert first[1] <= 999 and second[0] >= 1001 and second[0] - first[1] <= 6


def test_marks_at_the_ends_and_beyond_are_harmless(tmp_path):
    marks = [(0.0, 0.0, "boundary"), (0.0, 0.0, "BAD boundary"), (4.995, 3.0, "BAD_late"), (5.0, 0.0, "EDGE boundary")]
    header = open_recording(saved(raw_of(noise(6, RATE, 5.0), RATE, annotations=marks), tmp_path / "a_raw.fif")).header
    assert header.pieces == ((0, 1000),)
    assert [entry.text for entry in header.excluded] == ["BAD_late"]


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "a.vhdr", "a.set", "a_raw.fif"])
def test_marks_count_in_whatever_format_they_are_kept(tmp_path, name):
    marks = [(1.0, 0.0, "boundary"), (2.0, 0.0, "EDGE boundary"), (3.0, 0.5, "BAD_ACQ_SKIP"), (4.0, 0.25, "bad x")]
    header = open_recording(saved(raw_of(noise(6, RATE, 5.0), RATE, annotations=marks), tmp_path / name)).header
    assert header.pieces == ((0, 200), (200, 400), (400, 600), (700, 1000))
    assert [(entry.start_seconds, entry.duration_seconds) for entry in header.excluded] == [(4.0, 0.25)]


@pytest.mark.parametrize("onset", [2.0, 2.0 - 0.5 / RATE])
def test_an_eeglab_file_is_cut_at_boundaries_whatever_was_removed_there(tmp_path, onset):
    raw = raw_of(noise(6, RATE, 5.0), RATE, annotations=[(onset, 30.0, "boundary"), (3.0, 0.5, "T1")])
    header = open_recording(saved(raw, tmp_path / "a.set")).header
    assert header.pieces == ((0, 400), (400, 1000)) and header.excluded == ()


def test_brainvision_keeps_its_markers_though_only_a_later_segment_has_a_date(tmp_path):
    path = saved(raw_of(noise(6, RATE, 5.0), RATE, annotations=[(3.0, 0.5, "Stimulus/S  1")]), tmp_path / "a.vhdr")
    with (tmp_path / "a.vmrk").open("a") as markers:
        markers.write("Mk9=New Segment,,401,1,0,20200101120500000000\n")
    header = open_recording(path).header
    assert header.pieces == ((0, 400), (400, 1000))
    assert any(entry.text.endswith("S  1") and entry.start_seconds == 3.0 for entry in header.annotations)


def test_eeg_is_read_alone_and_at_its_own_rate(tmp_path):
    every = signals()
    extra = [
        Signal("Sound", noise(1, 8000, 10)[0]),
        Signal("Temp", np.ones(10), "DegC"),
        Signal("Flow", np.ones(40), ""),
    ]
    path = write_edf(tmp_path / "a.edf", [extra[0], *every, *extra[1:], Signal("Trigger", np.ones(1000), "")], 10)
    reader = open_recording(path)
    assert (reader.header.channels, reader.header.rate_hz, reader.header.samples) == (MONTAGE, 100.0, 1000)
    assert reader.header.others == {
        "Temp": "'Temp' is in 'DegC', not in volts.",
        "Trigger": "'Trigger' is declared as stim, not EEG.",
        "Sound": "'Sound' is recorded at 8000 Hz, unlike the EEG (100 Hz).",
        "Flow": "'Flow' is recorded at 4 Hz, unlike the EEG (100 Hz).",
    }
    np.testing.assert_allclose(reader.microvolts(["C4"], 5, 700)[0], every[3].samples[5:700], atol=1e-6)


def test_the_rate_is_that_of_most_electrodes(tmp_path):
    fast = [Signal(name, noise(1, 400, 10)[0]) for name in ("T7", "T8")]
    header = open_recording(write_edf(tmp_path / "a.edf", [*fast, *signals()], 10)).header
    assert header.rate_hz == 100 and set(header.others) == {"T7", "T8"}


def test_names_may_repeat(tmp_path):
    every = signals(names=("T8-P8", "Cz", "T8-P8", "C3", "C4", "Pz"))
    reader = open_recording(write_edf(tmp_path / "a.edf", [*every, Signal("Sound", noise(1, 800, 10)[0])], 10))
    assert reader.header.channels == ("T8-P8-0", "Cz", "T8-P8-1", "C3", "C4", "Pz")
    np.testing.assert_allclose(reader.microvolts(["T8-P8-1"], 0, 1000)[0], every[2].samples, atol=1e-6)


def test_a_channel_may_be_called_like_a_type(tmp_path):
    every = signals(names=("EEG", "Cz", "ecg", "all", "C4", "data"))
    reader = open_recording(write_edf(tmp_path / "a.edf", every, 10))
    assert reader.microvolts(["EEG"], 0, 1000).shape == (1, 1000)
    np.testing.assert_allclose(reader.microvolts(["data"], 0, 1000)[0], every[5].samples, atol=1e-6)


def test_a_discontinuous_edf_is_one_piece_or_cut(tmp_path):
    stamps = [stamp(index, (9.0, 1.5, b"T1")) if index == 1 else stamp(index) for index in range(10)]
    whole = open_recording(write_edf(tmp_path / "a.edf", signals(), 10, declared="EDF+D", stamps=stamps)).header
    assert whole.pieces == ((0, 1000),) and whole.annotations == ((9.0, 1.0, "T1"),)
    stamps[4:] = [stamp(index + 50, (58.25, 0.5, b"T2")) for index in range(4, 10)]
    broken = open_recording(write_edf(tmp_path / "b.edf", signals(), 10, declared="EDF+D", stamps=stamps)).header
    assert broken.pieces == ((0, 400), (400, 1000)) and broken.format == "EDF+D"
    assert broken.annotations == ((4.0, 0.0, "T1"), (8.25, 0.5, "T2"))
    assert broken.notes == ("The times of its records leave 1 gap(s) of 50 s altogether.",)


def test_letters_of_an_older_recorder_are_read(tmp_path):
    stamps = [stamp(index, (index, 0, "Öffnen".encode("latin-1"))) for index in range(10)]
    header = open_recording(write_edf(tmp_path / "a.edf", signals(), 10, declared="EDF+C", stamps=stamps)).header
    assert {entry.text for entry in header.annotations} == {"Öffnen"}


def test_bad_channels_keep_their_place_and_other_types_do_not(tmp_path):
    raw = raw_of(noise(6, RATE, 5.0), RATE)
    raw.set_channel_types({"O2": "ecg", "Fp1": "stim"}, verbose="ERROR")
    raw.info["bads"] = ["C3", "O2"]
    header = open_recording(saved(raw, tmp_path / "a_raw.fif")).header
    assert header.channels == ("Fp2", "C3", "C4", "O1") and header.marked_bad == {"C3"}
    assert header.others == {
        "Fp1": "'Fp1' is declared as stim, not EEG.",
        "O2": "'O2' is declared as ecg, not EEG.",
    }


def test_an_open_raw_object_is_read_as_it_is_now(tmp_path):
    signal = noise(6, RATE, 5.0)
    raw = raw_of(signal, RATE, annotations=[(1.0, 0.0, "boundary")])
    raw.info["bads"] = ["C4"]
    reader = reader_of(raw, tmp_path, notes=["a note", "a note"])
    assert reader.header.pieces == ((0, 200), (200, 1000)) and reader.header.marked_bad == {"C4"}
    assert reader.header.notes == ("a note",)
    np.testing.assert_allclose(reader.microvolts(["C4"], 0, 1000)[0], signal[3])


def test_warnings_become_notes_once_and_are_not_printed(tmp_path, capfd):
    path = write_edf(tmp_path / "a.edf", signals(names=("C3", "C3", "C4", "Cz", "Pz", "Oz")), 10)
    content = path.read_bytes()
    path.write_bytes(content[:168] + b"xx.yy.zz" + content[176:])  # the date
    before = logging.getLogger("mne").handlers[:], mne.utils.get_config("MNE_LOGGING_LEVEL")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        notes = open_recording(path).header.notes
    assert [note for note in notes if "Invalid measurement date" in note] == [notes[0]]
    assert sum("not unique" in note for note in notes) == 1
    assert capfd.readouterr() == ("", "")
    assert before == (logging.getLogger("mne").handlers[:], mne.utils.get_config("MNE_LOGGING_LEVEL"))


def test_what_mne_thinks_of_a_name_is_no_note(tmp_path):
    assert open_recording(saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / "night.fif")).header.notes == ()


@pytest.mark.parametrize("naming", ["neuromag", "bids"])
def test_parts_of_one_fif_are_one_recording(tmp_path, naming):
    raw = raw_of(noise(6, RATE, 900.0), RATE)
    saved(raw, tmp_path / "sub-1_eeg.fif", split_size="2MB", split_naming=naming, fmt="single")
    first, *later = sorted(tmp_path.iterdir(), key=lambda path: (path.name != "sub-1_eeg.fif", path.name))
    header = open_recording(first).header
    assert len(later) >= 2 and header.pieces == ((0, 180_000),)
    for path in later:
        with pytest.raises(InputError, match=rf"{path.name} is a later part of {first.name}: give that file"):
            open_recording(path)


def test_a_number_in_a_name_does_not_make_a_later_part(tmp_path):
    for name in ("a_eeg.fif", "a_eeg-1.fif", "a_split-01_eeg.fif", "a_split-02_eeg.fif"):
        assert open_recording(saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / name)).header.samples == 400


def test_a_rate_below_one_is_a_rate(tmp_path):
    slow = [Signal(name, np.arange(10.0)) for name in MONTAGE]
    header = open_recording(write_edf(tmp_path / "a.edf", slow, 10, record_seconds="30")).header
    assert header.rate_hz == pytest.approx(1 / 30) and header.seconds == pytest.approx(300)
