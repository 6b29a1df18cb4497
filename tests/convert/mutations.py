"""Damages a file at random, again and again, and imports what is left; prints what happened as JSON.

    python mutations.py FILE COUNT SEED

Mutation n is a function of (seed, n) alone: bytes are flipped, the file is cut short, a stretch is taken out or put in
twice, or a length in a header or in the pickle is overwritten. Every other time only the pickle is damaged and its
checksum made right again, so that what reads it must stand on its own.
"""

import json
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import jax
import numpy as np

from labram_jax.convert.importing import import_model
from labram_jax.errors import InputError

LENGTHS = (0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def mutated(data: bytes, generator: np.random.Generator, structure: list[slice]) -> bytes:
    """One mutation; most hit the structure of the file (headers, pickle, directory), which the tensors outweigh."""
    changed = bytearray(data)
    area = structure[generator.integers(len(structure))] if generator.random() < 0.8 else slice(0, len(data))

    def place() -> int:
        return int(generator.integers(area.start, area.stop))

    kind = generator.integers(5)
    if kind == 0:
        for _ in range(generator.integers(1, 9)):
            changed[place()] ^= 1 << generator.integers(8)
    elif kind == 1:
        for _ in range(generator.integers(1, 5)):
            changed[place()] = generator.integers(256)
    elif kind == 2:
        del changed[place() :]
    elif kind == 3:
        start, length = place(), int(generator.integers(1, 200))
        part = changed[start : start + length]
        changed[start : start + length] = part * int(generator.choice([0, 2]))
    else:
        width, start = int(generator.choice([2, 4, 8])), place()
        value = LENGTHS[generator.integers(len(LENGTHS))] & ((1 << 8 * width) - 1)
        changed[start : start + width] = value.to_bytes(width, "little")
    return bytes(changed)


def resealed(data: bytes, generator: np.random.Generator, pickle: slice) -> bytes:
    """A few bytes of the pickle changed, and its checksum with them."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 4)):
        place = int(generator.integers(pickle.start, pickle.stop))
        changed[place] = generator.integers(256) if generator.random() < 0.5 else changed[place] ^ 1
    checksum = data.index(b"PK\x01\x02") + 16  # the pickle is the first entry of the directory
    changed[checksum : checksum + 4] = zlib.crc32(changed[pickle]).to_bytes(4, "little")
    return bytes(changed)


def structure_of(data: bytes) -> list[slice]:
    """Where the headers, the pickle and the central directory are."""
    pickle = data.index(b"data.pkl")
    directory = data.index(b"PK\x01\x02")
    first_tensor = data.index(b"data/0")
    return [slice(0, pickle + 64), slice(pickle, first_tensor), slice(directory, len(data))]


def main(path: Path, count: int, seed: int) -> dict:
    data = path.read_bytes()
    whole, structure = import_model(path), structure_of(data)
    shapes = jax.tree.map(np.shape, whole.variables)
    with zipfile.ZipFile(path) as archive:
        size = archive.infolist()[0].file_size
    begin = data.index(b"\x80\x02}q\x00")
    ends, slowest = Counter(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / path.name
        for number in range(count):
            generator, sealed = np.random.default_rng((seed, number)), number % 2
            change = resealed(data, generator, slice(begin, begin + size)) if sealed else None
            file.write_bytes(change or mutated(data, generator, structure))
            start = time.perf_counter()
            try:
                imported = import_model(file)
            except InputError as error:
                assert str(error).endswith(".") and "\n" not in str(error), error
                ends["refused"] += 1
            else:
                # A change that the checksum vouches for may mean another value, but never another shape.
                if imported.config == whole.config:
                    assert jax.tree.map(np.shape, imported.variables) == shapes, number
                else:
                    assert sealed, number
                if not sealed:
                    jax.tree.map(np.testing.assert_array_equal, imported.variables, whole.variables)
                ends["resealed and imported" if sealed else "imported"] += 1
            slowest = max(slowest, time.perf_counter() - start)
    return {**ends, "slowest_seconds": slowest, "peak_bytes": peak_bytes()}


def peak_bytes() -> int | None:
    """The most memory that this process ever held; None where the system does not tell.

    What getrusage tells begins with the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
