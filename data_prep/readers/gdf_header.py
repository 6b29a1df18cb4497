"""The header of a GDF file, as far as MNE guesses what it says: units, rates, and the length of the file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labram_jax.data_prep.readers.units import UNITS, microvolts_per, states_no_unit
from labram_jax.errors import InputError

_FIXED_BYTES = 256
# In a signal's header (GDF 1 and 2 alike), each field for all signals in turn.
_UNIT, _CODE, _SAMPLES, _TYPE = 96, 102, 216, 220
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 16: 4, 17: 8}
# GDF 2 has codes of the IEEE 11073-10101 standard for units; 512 is "dimensionless".
_CODES = {4256: UNITS["V"], 4274: UNITS["mV"], 4275: UNITS["uV"], 4276: UNITS["nV"]}
_NO_CODE = (0, 512)


@dataclass(frozen=True)
class GdfHeader:
    """`microvolts` and `taken`: those of one unit of each signal, in the file (None: no voltage) and as MNE takes it.

    `unstated` are the signals whose unit is left open, `samples` how many a record has of each.
    """

    microvolts: tuple[float | None, ...]
    taken: tuple[float, ...]
    unstated: frozenset[int]
    samples: tuple[int, ...]


def read_gdf_header(path: Path) -> GdfHeader:
    """Reads the header of a GDF file; one without a rate, or shorter than its header says, is an `InputError`."""
    with path.open("rb") as file:
        fixed = file.read(_FIXED_BYTES)
        if len(fixed) < _FIXED_BYTES or not fixed.startswith(b"GDF "):
            raise InputError(f"{path} is not a GDF file: its header cannot be read; check the file.")
        new = float(fixed[4:8]) >= 1.9
        count = int(np.frombuffer(fixed, "<u2" if new else "<u4", 1, 252)[0])
        described = file.read(count * 256)
    records = int(np.frombuffer(fixed, "<i8", 1, 236)[0])
    header_bytes = (
        256 * int(np.frombuffer(fixed, "<u2", 1, 184)[0]) if new else int(np.frombuffer(fixed, "<i8", 1, 184)[0])
    )
    if not all(np.frombuffer(fixed, "<u4", 2, 244)):
        raise InputError(
            f"{path} says that its records last no time, so its sampling rate is unknown: "
            "obtain or export it with the right header."
        )
    samples = np.frombuffer(described, "<i4", count, _SAMPLES * count)
    types = np.frombuffer(described, "<i4", count, _TYPE * count)
    record_bytes = sum(int(number) * _TYPE_BYTES.get(int(kind), 0) for number, kind in zip(samples, types, strict=True))
    expected, size = header_bytes + max(records, 0) * record_bytes, path.stat().st_size
    if size < expected:
        raise InputError(
            f"{path} is truncated: its header promises {records} records ({expected} bytes), "
            f"the file holds {size} bytes; obtain the whole file."
        )
    return GdfHeader(*(_coded if new else _spelt)(described, count), tuple(int(number) for number in samples))


def _coded(described: bytes, count: int) -> tuple[tuple[float | None, ...], tuple[float, ...], frozenset[int]]:
    codes = [int(code) for code in np.frombuffer(described, "<u2", count, _CODE * count)]
    known = {code: _CODES[code] for code in (4274, 4275)}
    unstated = frozenset(index for index, code in enumerate(codes) if code in _NO_CODE)
    return tuple(map(_CODES.get, codes)), tuple(known.get(code, UNITS["V"]) for code in codes), unstated


def _spelt(described: bytes, count: int) -> tuple[tuple[float | None, ...], tuple[float, ...], frozenset[int]]:
    start = _UNIT * count
    texts = [described[start + 8 * index : start + 8 * index + 8].decode("latin-1") for index in range(count)]
    taken = tuple(UNITS["uV"] if text.startswith("uV") else UNITS["V"] for text in texts)
    unstated = frozenset(index for index, text in enumerate(texts) if states_no_unit(text))
    return tuple(map(microvolts_per, texts)), taken, unstated
