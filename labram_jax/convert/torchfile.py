"""Files of `torch.save` read without torch: a zip whose stored members are the memory of the tensors.

Tensors are views into the mapped file, so that only what is used is read. Nothing that the file says of itself is
believed: members must lie in the file uncompressed and match their checksums, and tensors must lie in their storage.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

from labram_jax.convert.pickled_objects import Builder, Global
from labram_jax.convert.pickles import MAX_BYTES, read_pickle
from labram_jax.errors import InputError, refusal_in

STORAGES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "torch.DoubleStorage": np.dtype("f8"),
        "torch.FloatStorage": np.dtype("f4"),
        "torch.HalfStorage": np.dtype("f2"),
        "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
        "torch.LongStorage": np.dtype("i8"),
        "torch.IntStorage": np.dtype("i4"),
        "torch.ShortStorage": np.dtype("i2"),
        "torch.CharStorage": np.dtype("i1"),
        "torch.ByteStorage": np.dtype("u1"),
        "torch.BoolStorage": np.dtype("?"),
    }
)
# Types that appear among the values of a checkpoint, as names alone.
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
OLD_FORMATS = (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", b"././@LongLink", b"storages")
BLOCK = 1 << 20
MAX_AXES = 32


@dataclass(frozen=True)
class Storage:
    """The memory of one or several tensors."""

    values: np.ndarray


def read_torch(path: Path) -> Any:
    """What `torch.save` wrote: dicts, lists, numbers, text, and numpy arrays that are views into the mapped file.

    Raises:
        InputError: the file is of a torch before 1.6, no zip, truncated, encrypted, compressed or damaged, or its
            pickle names anything but tensors and plain data.
    """
    with _open(path) as archive:
        if archive.names["data.pkl"].file_size > MAX_BYTES:
            raise InputError(f"{path} is no checkpoint: its pickle alone has more than {MAX_BYTES:,} bytes.")
        return read_pickle(archive.read("data.pkl"), str(path), archive.builders, archive.storage)


def _open(path: Path) -> "_Archive":
    with path.open("rb") as file:
        start = file.read(32)
    if any(start.startswith(old) for old in OLD_FORMATS):
        raise InputError(
            f"{path} was written by a torch before 1.6: load it with torch and save it again, or convert it to "
            "safetensors."
        )
    if not start.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is no file of torch.save (no zip): give a .pth of torch 1.6 or later.")
    try:
        return _Archive(path)
    except InputError:
        raise
    except (zipfile.BadZipFile, ValueError, struct.error, OSError, EOFError, LookupError, RuntimeError) as error:
        if refusal_in(error):
            raise
        raise InputError(f"{path} is truncated or damaged ({error}): obtain the file again.") from error


class _Archive:
    """The members of one file, and the storages that were asked for."""

    def __init__(self, path: Path):
        self.path, self.storages = path, {}
        with zipfile.ZipFile(path) as archive:
            self.names = dict(self._members(archive.infolist()))
        self.file = path.open("rb")
        try:
            self.memory = np.memmap(path, np.uint8, mode="r")
            order = self.read("byteorder") if "byteorder" in self.names else b"little"
            if order not in (b"little", b"big"):
                raise InputError(f"{path} is damaged (its byte order is unknown): obtain the file again.")
            self.order = "<" if order == b"little" else ">"
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> "_Archive":
        return self

    def __exit__(self, *_) -> None:
        self.file.close()

    @property
    def builders(self) -> dict[str, Builder | None]:
        names: dict[str, Builder | None] = dict.fromkeys([*STORAGES, *(f"torch.{name}" for name in DTYPES)])
        return names | {
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
            "torch.Size": lambda sizes: sizes,
            "torch.device": lambda kind, *_: kind,
        }

    def read(self, name: str) -> bytes:
        info, start = self._place(name)
        return self.memory[start : start + info.file_size].tobytes()

    def storage(self, identifier: Any) -> Storage:
        """The storage that a pickle refers to, mapped and checked once."""
        try:
            kind, dtype, key, _, numbers = identifier
            named = kind == "storage" and isinstance(dtype, Global) and dtype.name in STORAGES
            known = named and isinstance(key, str) and len(key) < 100 and f"data/{key}" in self.names
        except (TypeError, ValueError):
            known = False
        if not known or type(numbers) is not int:
            raise InputError(f"{self.path} is damaged (it refers to a storage that it lacks): obtain the file again.")
        if (key, dtype) not in self.storages:
            info, start = self._place(f"data/{key}")
            if info.file_size != numbers * STORAGES[dtype.name].itemsize:
                raise InputError(f"{self.path} is damaged (storage {key} has another size): obtain the file again.")
            values = self.memory[start : start + info.file_size].view(STORAGES[dtype.name].newbyteorder(self.order))
            self.storages[key, dtype] = Storage(values)
        return self.storages[key, dtype]

    def _tensor(self, storage: Storage, offset: int, size: tuple, stride: tuple, *_) -> np.ndarray:
        """A view of a storage, if all of it lies inside."""
        numbers = [offset, *size[:MAX_AXES], *stride[:MAX_AXES]]
        whole = isinstance(storage, Storage) and len(size) == len(stride) <= MAX_AXES
        if not whole or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
            raise InputError(f"{self.path} is damaged (a tensor that is none): obtain the file again.")
        values = storage.values
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        # A tensor of more numbers than its storage would repeat them: a few bytes could stand for terabytes.
        if prod(size) > values.size or (prod(size) and last >= values.size):
            raise InputError(
                f"{self.path} is damaged (a tensor of shape {tuple(size)} and strides {tuple(stride)} does not fit its "
                f"storage of {values.size}): obtain the file again."
            )
        strides = [step * values.itemsize for step in stride]
        start = offset if prod(size) else 0
        return np.ndarray(tuple(size), values.dtype, values[start:], strides=strides)

    def _members(self, infos: list[zipfile.ZipInfo]) -> Iterator[tuple[str, zipfile.ZipInfo]]:
        """The members by their names below the archive's one folder."""
        folders = [info.filename.removesuffix("data.pkl") for info in infos if info.filename.endswith("/data.pkl")]
        if len(folders) != 1 or len({info.filename for info in infos}) != len(infos):
            raise InputError(f"{self.path} is a zip, but no file of torch.save: give a .pth of torch 1.6 or later.")
        for info in infos:
            name = info.filename
            if info.flag_bits & 0x1:
                raise InputError(f"{self.path} is encrypted ({name}): decrypt it first.")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise InputError(
                    f"{self.path} has the compressed member {name}, which torch never writes: pack it anew without "
                    "compression."
                )
            yield name.removeprefix(folders[0]), info

    def _place(self, name: str) -> tuple[zipfile.ZipInfo, int]:
        """Where the bytes of a member begin in the file, once they are known to be whole."""
        info = self.names[name]
        header = self.memory[info.header_offset : info.header_offset + 30].tobytes()
        if len(header) == 30 and header.startswith(b"PK\x03\x04"):
            start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
            if start + info.file_size <= self.memory.size and self._checksum(start, info.file_size) == info.CRC:
                return info, start
        raise InputError(f"{self.path} is damaged: {name} is not what was saved: obtain the file again.")

    def _checksum(self, start: int, size: int) -> int:
        """Of the file's bytes, read in blocks so that a check of gigabytes takes none of memory."""
        self.file.seek(start)
        checksum = 0
        while size > 0 and (block := self.file.read(min(BLOCK, size))):
            checksum, size = zlib.crc32(block, checksum), size - len(block)
        return checksum
