"""Writes small recordings byte by byte, with headers that no exporter would write."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

_LSB = 0.1  # of the unit that a signal states
_BDF_LSB = 1.0  # whose range fits into a header's 8 characters


class Signal(NamedTuple):
    """A signal of an EDF, BDF or GDF file in the unit that it states; `samples` are those of the whole file."""

    label: str
    samples: np.ndarray
    unit: str = "uV"


def write_edf(
    path: Path,
    signals: Sequence[Signal],
    records: int,
    record_seconds: str = "1",
    declared: str = "",
    stamps: Sequence[bytes] = (),
    pad: bytes = b" ",
) -> Path:
    """Writes an EDF or, by the suffix, BDF file; `stamps` are what its annotation signal holds in each record."""
    bdf = path.suffix.lower() == ".bdf"
    width, top = (3, 2**23 - 1) if bdf else (2, 2**15 - 1)
    tal = max(map(len, stamps), default=0) // width + 1 if stamps else 0
    labels = [signal.label for signal in signals] + ["BDF Annotations" if bdf else "EDF Annotations"] * bool(stamps)
    units = [signal.unit for signal in signals] + [""] * bool(stamps)
    lengths = [len(signal.samples) // records for signal in signals] + [tal] * bool(stamps)
    count = len(labels)

    def text(value, size):
        return str(value).encode("latin-1").ljust(size, pad)

    head = (b"\xffBIOSEMI" if bdf else text("0", 8)) + text("X X X X", 80) + text("none", 80)
    head += text("02.03.04", 8) + text("05.06.07", 8) + text(256 * (1 + count), 8) + text(declared, 44)
    head += text(records, 8) + text(record_seconds, 8) + text(count, 4)
    lsb = _BDF_LSB if bdf else _LSB
    reach = (f"{-(top + 1) * lsb:g}" if not bdf else -(top + 1), f"{top * lsb:g}" if not bdf else top)
    for values, size in (
        (labels, 16),
        ([""] * count, 80),
        (units, 8),
        ([reach[0]] * count, 8),
        ([reach[1]] * count, 8),
        ([-top - 1] * count, 8),
        ([top] * count, 8),
        ([""] * count, 80),
        (lengths, 8),
        ([""] * count, 32),
    ):
        head += b"".join(text(value, size) for value in values)
    stored = [np.round(signal.samples / lsb).astype("<i4").reshape(records, -1) for signal in signals]
    with path.open("wb") as file:
        file.write(head)
        for record in range(records):
            for samples in stored:
                file.write(samples[record].copy().view(np.uint8).reshape(-1, 4)[:, :width].tobytes())
            if stamps:
                file.write(stamps[record].ljust(tal * width, b"\0"))
    return path


def stamp(onset: float, *annotations: tuple[float, float, bytes]) -> bytes:
    """Returns an EDF+ record's time and its annotations (onset, duration, text), in seconds of the clock."""
    lists = [b"+%g\x14\x14\0" % onset]
    lists += [b"+%g\x15%g\x14%s\x14\0" % annotation for annotation in annotations]
    return b"".join(lists)


def write_gdf(
    path: Path, signals: Sequence[Signal], rate: int, events: Sequence[tuple[int, int]] = (), codes: Sequence[int] = ()
) -> Path:
    """Writes a GDF 2.1 file of one-second records; `events` are (sample, code), and `codes` those of the units."""
    count, records = len(signals), len(signals[0].samples) // rate
    codes = list(codes) or [4275] * count
    fixed = bytearray(256)
    fixed[:8] = b"GDF 2.10"
    fixed[8:74] = b"X X".ljust(66)
    fixed[184:186] = np.uint16(1 + count).tobytes()
    fixed[236:244] = np.int64(records).tobytes()
    fixed[244:252] = np.array([1, 1], "<u4").tobytes()
    fixed[252:254] = np.uint16(count).tobytes()
    top = float(2**15 - 1)
    columns = [
        b"".join(signal.label.encode().ljust(16, b"\0") for signal in signals),
        bytes(86 * count),
        np.array(codes, "<u2").tobytes(),
        *(np.full(count, value, "<f8").tobytes() for value in (-top * _LSB, top * _LSB, -top, top)),
        bytes(68 * count),
        np.zeros(3 * count, "<f4").tobytes(),
        np.full(count, rate, "<i4").tobytes(),
        np.full(count, 3, "<i4").tobytes(),
        bytes(32 * count),
    ]
    stored = np.round(np.stack([signal.samples for signal in signals]) / _LSB).astype("<i2")
    body = stored.reshape(count, records, rate).swapaxes(0, 1).tobytes()
    table = bytes([1]) + len(events).to_bytes(3, "little") + np.float32(rate).tobytes()
    table += np.array([sample + 1 for sample, _ in events], "<u4").tobytes()
    table += np.array([code for _, code in events], "<u2").tobytes()
    path.write_bytes(bytes(fixed) + b"".join(columns) + body + table)
    return path


def write_persyst(path: Path, microvolts: np.ndarray, names: Sequence[str], rate: int, times: str) -> Path:
    """Writes a Persyst layout and its data; `times` are the lines of its section SampleTimes."""
    path.with_suffix(".dat").write_bytes(np.round(microvolts.T / _LSB).astype("<i2").tobytes())
    channels = "\n".join(f"{name}-Ref={index + 1}" for index, name in enumerate(names))
    path.write_text(
        f"[FileInfo]\nFile={path.stem}.dat\nFileType=Interleaved\nSamplingRate={rate}\nHeaderLength=0\n"
        f"Calibration={_LSB}\nWaveformCount={len(names)}\nDataType=0\n[Patient]\nFirst=A\nMI=\nLast=B\nSex=\nHand=\n"
        f"BirthDate=01/02/70\nTestDate=01/02/2020\nTestTime=10:11:12\n[SampleTimes]\n{times}\n[ChannelMap]\n{channels}\n"
    )
    return path


def write_cnt(path: Path, microvolts: np.ndarray, names: Sequence[str], rate: int, table: int | None = None) -> Path:
    """Writes a Neuroscan file of 32 bit without events; `table` is where its header says that they would be."""
    header, channels = bytearray(900), []
    body = np.round(microvolts.T / _LSB).astype("<i4").tobytes()
    header[225:245] = b"01/02/20  10:11:12  "
    for place, value in ((370, len(names)), (376, rate)):
        header[place : place + 2] = np.uint16(value).tobytes()
    table = len(header) + 75 * len(names) + len(body) if table is None else table
    for place, value in ((864, microvolts.shape[1]), (886, table)):
        header[place : place + 4] = np.int32(value).tobytes()
    for number, name in enumerate(names):
        channel, angle = bytearray(75), 2 * np.pi * number / len(names)
        channel[: len(name)] = name.encode()
        channel[19:27] = np.array([np.cos(angle), np.sin(angle)], "<f4").tobytes()
        channel[59:63], channel[71:75] = np.float32(204.8 * _LSB).tobytes(), np.float32(1).tobytes()
        channels.append(bytes(channel))
    path.parent.mkdir(parents=True, exist_ok=True)
    # An event table of the first kind, without any.
    path.write_bytes(bytes(header) + b"".join(channels) + body + bytes([1]) + bytes(8))
    return path
