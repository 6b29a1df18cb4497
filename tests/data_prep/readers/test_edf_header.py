"""EDF and BDF headers against their files, and what their records' times say."""

import numpy as np
import pytest
from file_writers import Signal, stamp, write_edf

from labram_jax.data_prep.readers.edf_header import read_edf_header
from labram_jax.data_prep.readers.edf_times import read_times
from labram_jax.errors import InputError

RATE = 100


def signals(records=10, names=("Fp1", "Cz")):
    rng = np.random.default_rng(0)
    return [Signal(name, rng.normal(0, 20, records * RATE)) for name in names]


@pytest.mark.parametrize("pad", [b" ", b"\0"])
def test_numbers_may_be_padded_with_nuls(tmp_path, pad):
    header = read_edf_header(write_edf(tmp_path / "a.edf", signals(), 10, pad=pad))
    assert header.samples == (RATE, RATE) and header.records == 10 and header.rate_hz(0) == RATE


def test_annotations_alone_are_no_recording(tmp_path):
    path = write_edf(tmp_path / "hypnogram.edf", [], 10, declared="EDF+C", stamps=[stamp(i) for i in range(10)])
    with pytest.raises(InputError, match=r"hypnogram\.edf holds annotations alone, no signal"):
        read_edf_header(path)


@pytest.mark.parametrize("seconds", ["0", "-1", "nan"])
def test_records_without_a_length_have_no_rate(tmp_path, seconds):
    with pytest.raises(InputError, match=r"sampling rate is unknown"):
        read_edf_header(write_edf(tmp_path / "a.edf", signals(), 10, record_seconds=seconds))


def test_records_that_hardly_last_are_refused(tmp_path):
    """Filters at such a rate would take gigabytes for a file of some kilobytes."""
    with pytest.raises(
        InputError, match=r"each of its 10 records lasts 1e-05 s, so that it has 1e\+07 samples a second"
    ):
        read_edf_header(write_edf(tmp_path / "a.edf", signals(), 10, record_seconds="1e-5"))


@pytest.mark.parametrize("left", [0.0, 0.001, 0.1, 0.7])
def test_what_is_cut_off_is_told(tmp_path, left):
    path = write_edf(tmp_path / "a.edf", signals(), 10)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    with pytest.raises(InputError, match=r"a\.edf is (not an EDF file|truncated)"):
        read_edf_header(path)


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (252, b"0   ", "not an EDF"),
        (252, b"-1  ", "not an EDF"),
        (184, b"512     ", "contradicts"),
        (236, b"x", "not an EDF"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path, place, value, says):
    path = write_edf(tmp_path / "a.edf", signals(), 10)
    content = bytearray(path.read_bytes())
    content[place : place + len(value)] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_edf_header(path)


def test_a_header_without_records_is_refused(tmp_path):
    path = write_edf(tmp_path / "a.edf", signals(), 10)
    path.write_bytes(path.read_bytes()[: 256 * 3].replace(b"10      1   ", b"0       1   "))
    with pytest.raises(InputError, match="holds no samples"):
        read_edf_header(path)


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_only_the_signal_asked_for_is_read(tmp_path, suffix):
    header = read_edf_header(write_edf(tmp_path / f"a{suffix}", signals(), 10))
    assert header.bytes_of(1).shape == (10, RATE * header.sample_bytes)


def times_of(path, records=10):
    return read_times(read_edf_header(path), RATE)


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_a_discontinuous_file_is_cut_at_its_gaps(tmp_path, suffix):
    clock = [3.5, 4.5, 5.5, 20.5, 21.5, 22.5, 23.5, 23.9, 24.9, 25.9]
    # As MNE has it, the first record is the start whatever its time, and texts are in any record.
    stamps = [stamp(time) for time in clock]
    stamps[1] = stamp(4.5, (21.0, 1.0, b"T1"), (5.0, 16.0, b"BAD"), (9.0, 0.0, b"in the gap"), (26.5, 9.0, b"T2"))
    declared = f"{suffix[1:].upper()}+D"
    times = times_of(write_edf(tmp_path / f"a{suffix}", signals(), 10, declared=declared, stamps=stamps))
    assert times.breaks == [(300, 300), (700, 700)]
    assert [(a.text, round(a.start_seconds, 6), round(a.duration_seconds, 6)) for a in times.annotations] == [
        ("BAD", 1.5, 2.0),
        ("in the gap", 3.0, 0.0),
        ("T1", 3.5, 1.0),
        ("T2", 9.6, 9.0),
    ]
    assert times.notes == ("The times of its records leave 2 gap(s) of 14 s altogether.",)


@pytest.mark.parametrize("declared", ["EDF+C", "EDF+D"])
def test_records_that_follow_each_other_are_one_piece(tmp_path, declared):
    stamps = [stamp(7 + index, (7.1 * index, 4.1, b"T1")) for index in range(10)]
    times = times_of(write_edf(tmp_path / "a.edf", signals(), 10, declared=declared, stamps=stamps))
    assert times.breaks == [] and times.notes == ()
    assert times.annotations[3] == (pytest.approx(7.1 * 3 - 7), 4.1, "T1")


@pytest.mark.parametrize("clock", [[0] * 10, list(range(10, 0, -1)), [1.002 * index for index in range(10)]])
def test_a_file_declared_continuous_is_so_where_its_times_make_no_sense(tmp_path, clock):
    stamps = [stamp(time) for time in clock]
    assert times_of(write_edf(tmp_path / "a.edf", signals(), 10, declared="EDF+C", stamps=stamps)).breaks == []


def test_a_gap_in_a_file_declared_continuous_is_cut(tmp_path):
    stamps = [stamp(index + 60 * (index > 4)) for index in range(10)]
    assert times_of(write_edf(tmp_path / "a.edf", signals(), 10, declared="EDF+C", stamps=stamps)).breaks == [
        (500, 500)
    ]


def test_texts_are_utf8_or_else_latin1_and_lose_their_channel(tmp_path):
    texts = ("Öffnen".encode(), "Öffnen".encode("latin-1"), b"a@@Cz", b"b@@nobody")
    stamps = [stamp(index, *([(index, 0, texts[index])] if index < len(texts) else [])) for index in range(10)]
    times = times_of(write_edf(tmp_path / "a.edf", signals(), 10, declared="EDF+C", stamps=stamps))
    assert [annotation.text for annotation in times.annotations] == ["Öffnen", "Öffnen", "a", "b@@nobody"]


def test_a_biosemi_recording_is_cut_where_it_went_on_after_a_pause(tmp_path):
    status = np.zeros(10 * 2 * RATE)
    status[:5] = status[900:1000] = 1 << 16
    every = [*signals(), Signal("Status", status, "Boolean")]
    assert times_of(write_edf(tmp_path / "a.bdf", every, 10, declared="24BIT")).breaks == [(450, 450)]
    assert times_of(write_edf(tmp_path / "b.bdf", every, 10)).breaks == []
