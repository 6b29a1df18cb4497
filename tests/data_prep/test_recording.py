"""Reading recordings, and what is said about those that cannot be read."""

import mne
import numpy as np
import pytest
from made_up import MONTAGE, noise, raw_of

from data_prep.recording import channels, inspect, microvolts, read
from labram_jax.errors import InputError


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "a.vhdr", "a.set", "a_raw.fif"])
def test_formats_give_the_same_microvolts(tmp_path, name):
    signal = noise(6, 200.0, 5.0)
    raw = raw_of(signal, 200.0)
    if name.endswith(".fif"):
        raw.save(tmp_path / name, verbose="ERROR")
    else:
        mne.export.export_raw(tmp_path / name, raw, verbose="ERROR")
    found = read(tmp_path / name)
    eeg = microvolts(found, list(MONTAGE))
    assert list(channels(found).usable.values()) == [electrode.upper() for electrode in MONTAGE]
    np.testing.assert_allclose(eeg[:, :1000], signal, atol=0.1)


def test_a_truncated_edf_is_refused_with_its_record_counts(write_edf):
    path = write_edf("whole.edf")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(InputError, match=r"truncated: its header promises 20 records .* holds 12"):
        read(path)


def test_an_interrupted_edf_is_refused(write_edf):
    path = write_edf("gaps.edf")
    content = bytearray(path.read_bytes())
    content[192:197] = b"EDF+D"
    path.write_bytes(content)
    with pytest.raises(InputError, match="gaps"):
        read(path)


def test_a_truncated_fif_is_refused_once_its_samples_are_wanted(tmp_path):
    path = tmp_path / "a_raw.fif"
    raw_of(noise(6, 200.0, 40.0), 200.0).save(path, verbose="ERROR")
    path.write_bytes(path.read_bytes()[:-50_001])
    with pytest.raises(InputError, match=r"a_raw.fif"):
        microvolts(read(path), ["C3"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("no.edf", None, "no file"),
        ("text.edf", b"hello", "not an EDF file"),
        ("empty.bdf", b"", "empty file"),
        ("text.vhdr", b"hello", "cannot be read as EEG"),
        ("notes.md", b"hello", "format that MNE reads"),
        ("noise.fif", b"\x01\x02" * 300, "cannot be read as EEG"),
    ],
)
def test_files_that_are_no_recordings(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        read(tmp_path / name)
    assert name in str(error.value)


def test_a_companion_file_names_its_header(tmp_path):
    mne.export.export_raw(tmp_path / "a.vhdr", raw_of(noise(6, 200.0, 2.0), 200.0), verbose="ERROR")
    with pytest.raises(InputError, match=r"give a\.vhdr"):
        read(tmp_path / "a.vmrk")
    with pytest.raises(InputError, match="folder"):
        read(tmp_path)


def test_inspect_tells_electrodes_reasons_and_annotations(tmp_path):
    path = tmp_path / "a_raw.fif"
    names = ["EEG Fp1", "EEG Fpz-Cz", "ECG", "Cz"]
    raw = raw_of(noise(4, 128.0, 10.0), 128.0, names, [(1.0, 2.0, "T1"), (5.0, 1.0, "T1")])
    raw.set_channel_types({"ECG": "ecg"}, verbose="ERROR")
    raw.info["bads"] = ["Cz"]
    raw.save(path, verbose="ERROR")
    summary = inspect(path)
    assert summary.electrodes == {"EEG Fp1": "FP1"}
    assert {name: summary.ignored[name].split(":")[0] for name in summary.ignored} == {
        "EEG Fpz-Cz": "'EEG Fpz-Cz' is a bipolar derivation (FPZ against CZ)",
        "ECG": "'ECG' is declared as ecg, not EEG.",
        "Cz": "'Cz' is marked as bad in the recording.",
    }
    assert summary.annotations == {"T1": 2}
    assert summary.suspicion is None
    assert "128 Hz, 10.0 s" in str(summary) and "bipolar" in str(summary)


@pytest.mark.parametrize(("factor", "says"), [(1e6, "too large"), (1e-3, "too small"), (0.0, "flat")])
def test_inspect_suspects_a_wrong_unit(tmp_path, factor, says):
    path = tmp_path / "a_raw.fif"
    raw_of(noise(6, 128.0, 5.0) * factor, 128.0).save(path, verbose="ERROR")
    assert says in inspect(path).suspicion
