"""Units: those in the file, those that are asked for, and those that nothing says."""

import numpy as np
import pytest
from file_writers import Signal, write_edf, write_gdf
from made_up import noise, raw_of, saved, signals

from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.errors import InputError

RATE = 200.0


@pytest.mark.parametrize(
    ("unit", "microvolts"),
    [("uV", 1), ("UV", 1), ("µV", 1), ("uV\0\0", 1), ("uVolts", 1), ("mV", 1e3), ("mv", 1e3), ("V", 1e6), ("nV", 1e-3)],
)
@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_a_unit_in_the_file_counts(tmp_path, suffix, unit, microvolts):
    signal = np.round(noise(1, 100, 10)[0])
    path = write_edf(tmp_path / f"a{suffix}", [Signal("Cz", signal, unit)], 10)
    for given in (None, "nV"):
        reader = open_recording(path, unit=given)
        np.testing.assert_allclose(reader.microvolts(["Cz"], 0, 1000)[0], signal * microvolts, rtol=1e-4)
        assert reader.header.notes == ()


@pytest.mark.parametrize(("unit", "microvolts"), [("uV", 1), ("mV", 1e3), ("V", 1e6), ("nV", 1e-3)])
@pytest.mark.parametrize("stated", ["", "n/a", "-"])
def test_a_unit_that_is_asked_for_counts_where_the_file_has_none(tmp_path, stated, unit, microvolts):
    signal = np.round(noise(2, 100, 10))
    path = write_edf(tmp_path / "a.edf", [Signal("Cz", signal[0], stated), Signal("Pz", signal[1], "uV")], 10)
    reader = open_recording(path, unit=unit)
    expected = signal * [[microvolts], [1]]
    np.testing.assert_allclose(reader.microvolts(["Cz", "Pz"], 0, 1000), expected, rtol=1e-6)
    one = open_recording(path, unit={"Cz": unit})
    np.testing.assert_allclose(one.microvolts(["Cz", "Pz"], 0, 1000), expected, rtol=1e-6)
    assert open_recording(path).header.notes == (
        "Cz has no unit in the file and was taken for V: give --unit (uV, mV, V, nV) if it is another.",
    )


def test_units_of_formats_that_have_no_place_for_them_or_leave_it_out(tmp_path):
    signal = noise(6, RATE, 5.0)
    for name in ("a.set", "a.vhdr"):
        path = saved(raw_of(signal, RATE), tmp_path / name)
        if name == "a.vhdr":
            text = path.read_text()
            assert "\nCh3=C3,,0.1,µV" in text
            path.write_text(
                text.replace("\nCh3=C3,,0.1,µV", "\nCh3=C3,,0.1").replace("\nCh4=C4,,0.1,µV", "\nCh4=C4,,0.1,")
            )
            assert "C3, C4 have no unit in the file and were taken for uV" in open_recording(path).header.notes[0]
        np.testing.assert_allclose(open_recording(path).microvolts(["C3"], 0, 1000), signal[2:3], atol=0.1)
        eeg = open_recording(path, unit="mV").microvolts(["C3", "O1"], 0, 1000)
        np.testing.assert_allclose(eeg[0], 1e3 * signal[2], atol=100)
        np.testing.assert_allclose(eeg[1], (1e3 if name == "a.set" else 1) * signal[4], atol=100)


def test_units_of_gdf(tmp_path):
    every = signals(names=("C3", "C4", "Cz", "Pz", "Oz", "Fz"))
    path = write_gdf(tmp_path / "a.gdf", every, 100, codes=[4275, 4274, 4276, 0, 512, 17])
    reader = open_recording(path, unit="mV")
    assert reader.header.others == {"Fz": "'Fz' has another unit than volts."}
    eeg = reader.microvolts(reader.header.channels, 0, 1000)
    factors = [eeg[row] @ every[row].samples / (every[row].samples @ every[row].samples) for row in range(5)]
    np.testing.assert_allclose(factors, [1, 1e3, 1e-3, 1e3, 1e3])
    assert "Pz, Oz have no unit in the file and were taken for V" in open_recording(path).header.notes[-1]


def test_an_unknown_unit_is_refused(tmp_path):
    path = write_edf(tmp_path / "a.edf", signals(), 10)
    for unit in ("kV", "volts", {"C3": "x"}):
        with pytest.raises(InputError, match="give one of uV, mV, V, nV"):
            open_recording(path, unit=unit)
