"""One sentence for whatever cannot be read: damaged and truncated files, companions, epochs, lacking packages."""

import os

import h5py
import mne
import pytest
from file_writers import write_gdf
from made_up import MONTAGE, noise, raw_of, saved, signals

from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.errors import InputError

RATE = 200.0


@pytest.mark.parametrize("share", [0.2, 0.97])
def test_a_truncated_fif_is_refused_once_its_samples_are_wanted(tmp_path, share):
    path = saved(raw_of(noise(6, RATE, 40.0), RATE), tmp_path / "a_raw.fif")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a_raw.fif"):
        open_recording(path).microvolts(["C3"], 0, 8000)


@pytest.mark.parametrize("name", ["a.vhdr", "a.set", "a.gdf", "a.edf", "a.bdf"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_whatever_is_cut_off_is_one_sentence(tmp_path, name, share):
    if name == "a.gdf":
        path = write_gdf(tmp_path / name, signals(), 100)
    else:
        path = saved(raw_of(noise(6, RATE, 5.0), RATE), tmp_path / name)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError, match=r"a\.\w+"):
        open_recording(path).microvolts(MONTAGE, 0, 1000)


def test_a_brainvision_recording_shorter_than_its_header_says(tmp_path):
    path = saved(raw_of(noise(6, RATE, 5.0), RATE), tmp_path / "a.vhdr")
    path.write_text(path.read_text().replace("DataFormat=BINARY", "DataFormat=BINARY\nDataPoints=1001"))
    with pytest.raises(InputError, match=r"truncated: it promises 1001 samples, a.eeg holds 1000"):
        open_recording(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("no.edf", None, "no file"),
        ("text.edf", b"hello", "not an EDF file"),
        ("empty.bdf", b"", "empty file"),
        ("text.vhdr", b"hello", "cannot be read as EEG"),
        ("text.gdf", b"hello", "not a GDF file"),
        ("text.lay", b"hello", "cannot be read as EEG"),
        ("text.cnt", b"hello", "cannot be read as EEG"),
        ("text.dat", b"hello", "cannot be read as EEG"),
        ("text.set", b"hello", "cannot be read as EEG"),
        ("text.raw", b"hello", "cannot be read as EEG"),
        ("notes.md", b"hello", "format that MNE reads"),
        ("noise.fif", b"\x01\x02" * 300, "cannot be read as EEG"),
        ("noise.bdf", bytes(range(256)) * 9, "not an BDF file"),
    ],
)
def test_files_that_are_no_recordings(tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        open_recording(tmp_path / name)
    assert name in str(error.value)


@pytest.mark.parametrize(
    "error",
    [RecursionError("deep"), ZeroDivisionError("x"), UnicodeDecodeError("utf-8", b"x", 0, 1, "odd"), MemoryError()],
)
def test_whatever_a_reader_raises_is_one_sentence(tmp_path, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    path = saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / "a_raw.fif")
    reader = open_recording(path)
    monkeypatch.setattr(mne.io, "read_raw_fif", fail)
    with pytest.raises(InputError, match=rf"a_raw\.fif cannot be read as EEG \({type(error).__name__}"):
        open_recording(path)
    monkeypatch.setattr(mne.io.BaseRaw, "get_data", fail)
    with pytest.raises(InputError, match=rf"a_raw\.fif cannot be read \({type(error).__name__}"):
        reader.microvolts(["C3"], 0, 100)


def test_a_file_that_may_not_be_read_is_told(tmp_path, monkeypatch):
    for name in ("a.edf", "a_raw.fif", "a.vhdr", "a.set"):
        path = saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr(type(path), "open", lambda self, *a, **k: os.open(_closed(self), os.O_RDONLY))
            with pytest.raises(InputError, match=rf"{name} may not be read \(permission denied\)"):
                open_recording(path)


def test_a_reader_that_names_no_file_is_quoted(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise PermissionError("File does not have read permissions: a_raw-1.fif")

    path = saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / "a_raw.fif")
    monkeypatch.setattr(mne.io, "read_raw_fif", fail)
    with pytest.raises(InputError, match=r"a_raw.fif may not be read \(PermissionError: .*a_raw-1.fif\): change"):
        open_recording(path)


def _closed(path):
    raise PermissionError(13, "Permission denied", str(path))


def test_a_package_that_is_lacking_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pymatreader", None)
    monkeypatch.setitem(__import__("sys").modules, "mffpy", None)
    monkeypatch.setitem(__import__("sys").modules, "antio", None)
    with h5py.File(tmp_path / "new.set", "w", userblock_size=512):
        pass
    with (tmp_path / "new.set").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    (tmp_path / "net.mff").mkdir()
    (tmp_path / "ant.cnt").write_bytes(b"RIFF" + bytes(100))
    for name, package in (("new.set", "pymatreader"), ("net.mff", "mffpy"), ("ant.cnt", "antio")):
        with pytest.raises(InputError, match=rf"{name} is read with the package {package}, which is not installed"):
            open_recording(tmp_path / name)


def test_epochs_are_told_from_recordings(tmp_path):
    raw = raw_of(noise(6, RATE, 10.0), RATE)
    epochs = mne.make_fixed_length_epochs(raw, 2.0, preload=True, verbose="ERROR")
    mne.export.export_epochs(tmp_path / "a.set", epochs, verbose="ERROR")
    with pytest.raises(InputError, match=r"it holds epochs, an average or the like; give the continuous recording"):
        open_recording(tmp_path / "a.set")
    epochs.save(tmp_path / "a-epo.fif", verbose="ERROR")
    with pytest.raises(InputError, match=r"it holds epochs, an average or the like"):
        open_recording(tmp_path / "a-epo.fif")


def test_a_companion_file_names_its_header(tmp_path):
    saved(raw_of(noise(6, RATE, 2.0), RATE), tmp_path / "a.vhdr")
    for name in ("a.vmrk", "a.eeg"):
        with pytest.raises(InputError, match=r"give a\.vhdr"):
            open_recording(tmp_path / name)
    with pytest.raises(InputError, match="folder"):
        open_recording(tmp_path)
    with pytest.raises(InputError, match="no part 'x'"):
        open_recording(tmp_path / "a.vhdr", part="x")


def test_a_file_that_crashes_its_reader_is_refused(tmp_path):
    """SciPy ends the process by a segmentation fault over an unknown type of numbers."""
    path = saved(raw_of(noise(6, RATE, 5.0), RATE), tmp_path / "a.set")
    content = path.read_bytes()
    doubles = (9).to_bytes(4, "little")
    place = content.rindex(doubles)
    path.write_bytes(content[:place] + (256).to_bytes(4, "little") + content[place + 4 :])
    with pytest.raises(InputError, match=r"a\.set is damaged so that its reader crashes \(SIGSEGV\)"):
        open_recording(path)
