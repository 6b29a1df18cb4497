"""What `inspect` says of a recording."""

import numpy as np
import pytest
from file_writers import Signal, write_edf
from made_up import noise, raw_of, saved

from labram_jax.data_prep import summary
from labram_jax.data_prep.summary import inspect
from labram_jax.errors import InputError


def test_it_tells_electrodes_reasons_pieces_and_annotations(tmp_path):
    names = ["EEG Fp1", "EEG Fpz-Cz", "ECG", "Cz"]
    marks = [
        (1.0, 2.0, "T1"),
        (5.0, 1.0, "T1"),
        (6.0, 0.0, "BAD boundary"),
        (2.0, 1.5, "BAD_ACQ_SKIP"),
        (8.0, 1, "bad x"),
    ]
    raw = raw_of(noise(4, 128.0, 10.0), 128.0, names, marks)
    raw.set_channel_types({"ECG": "ecg"}, verbose="ERROR")
    raw.info["bads"] = ["Cz"]
    found = inspect(saved(raw, tmp_path / "a_raw.fif"))
    assert found.electrodes == {"EEG Fp1": "FP1", "Cz": "CZ"}
    assert "bipolar" in found.ignored["EEG Fpz-Cz"]
    assert found.ignored["ECG"] == "'ECG' is declared as ecg, not EEG."
    assert found.annotations == {"T1": 2, "BAD_ACQ_SKIP": 1, "BAD boundary": 1, "bad x": 1}
    assert found.suspicions == {}
    text = str(found)
    for line in (
        "a_raw.fif: a recording (FIF)",
        "  4 channels, 128 Hz, 10.0 s; the header says 0-64 Hz",
        "  3 continuous pieces: 0.0-2.0 s, 3.5-6.0 s, 6.0-10.0 s; 1.5 s are left out between them",
        "  electrodes (2): FP1 CZ",
        "  marked bad in the recording (1): CZ",
        "  excluded (1): 8.0-9.0 s 'bad x'",
        "'T1' x 2",
    ):
        assert line in text
    assert "SUSPICIOUS" not in text


def test_a_recording_without_cuts_is_one_piece(tmp_path):
    assert "  one continuous piece\n" in str(
        inspect(saved(raw_of(noise(6, 128.0, 5.0), 128.0), tmp_path / "a_raw.fif"))
    )


@pytest.mark.parametrize("factor", [1e6, 1e-3, 0.0])
def test_a_wrong_unit_is_suspected(tmp_path, factor):
    path = saved(raw_of(noise(6, 128.0, 5.0) * factor, 128.0), tmp_path / "a_raw.fif")
    assert list(inspect(path).suspicions) == [""]
    assert "SUSPICIOUS" in str(inspect(path)) and "float32" not in str(inspect(path))


@pytest.mark.parametrize("unit", ["mV", ""])
def test_one_electrode_in_another_unit_is_named(tmp_path, unit):
    eeg = noise(6, 100, 20)
    units = [unit, *["uV"] * 5]
    names = ("Fp1", "Fp2", "C3", "C4", "O1", "O2")
    signals = [Signal(name, row, own) for name, row, own in zip(names, eeg, units, strict=True)]
    found = inspect(write_edf(tmp_path / "a.edf", signals, 20))
    assert list(found.suspicions) == ["FP1"]
    assert any("Fp1 has no unit" in note for note in found.header.notes) == (unit == "")
    assert "float32" not in str(found)


def test_what_is_not_finite_and_what_is_short_is_no_trouble(tmp_path):
    eeg = noise(6, 128.0, 5.0)
    eeg[:, 100:300] = np.nan
    eeg[0] = np.nan
    assert inspect(saved(raw_of(eeg, 128.0), tmp_path / "a_raw.fif")).suspicions.keys() <= {"FP1"}
    assert inspect(saved(raw_of(noise(6, 128.0, 0.1), 128.0), tmp_path / "a_raw.fif")).suspicions == {}


def test_a_rate_below_one_is_no_trouble(tmp_path):
    path = write_edf(tmp_path / "a.edf", [Signal("Cz", np.arange(10.0))], 10, record_seconds="30")
    said = str(inspect(path))
    assert "1 channels, 0.0333333 Hz, 300.0 s" in said and "SUSPICIOUS: It has 0.0333333 samples a second" in said


def test_at_most_a_minute_of_the_first_pieces_is_read(tmp_path, monkeypatch):
    raw = raw_of(noise(6, 100.0, 200.0), 100.0, annotations=[(50.0, 90.0, "BAD_ACQ_SKIP")])
    path = saved(raw, tmp_path / "a_raw.fif")
    shapes = []
    monkeypatch.setattr(summary, "suspicions", lambda eeg, rate_hz, names: shapes.append(eeg.shape) or {})
    inspect(path)
    assert shapes == [(6, 6000)]


def test_reasons_that_differ_in_the_channel_alone_are_one_line(tmp_path):
    names = [f"X{index}" for index in range(30)]
    raw = raw_of(noise(30, 128.0, 2.0), 128.0, names)
    raw.set_channel_types(dict.fromkeys(names, "emg"), verbose="ERROR")
    lines = str(inspect(saved(raw, tmp_path / "a_raw.fif"))).splitlines()
    assert sum("declared as emg" in line for line in lines) == 1
    assert any("'X0', 'X1'" in line and "and 25 more" in line for line in lines)


def test_whatever_goes_wrong_is_one_sentence(tmp_path, monkeypatch):
    path = saved(raw_of(noise(6, 128.0, 5.0), 128.0), tmp_path / "a_raw.fif")
    monkeypatch.setattr(summary, "suspicions", lambda *arguments: 1 / 0)
    with pytest.raises(InputError, match=r"a_raw\.fif cannot be read as EEG \(ZeroDivisionError"):
        inspect(path)
    with pytest.raises(InputError, match="no file"):
        inspect(tmp_path / "nothing.edf")
