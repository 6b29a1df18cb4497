"""Writes files in the layout of torch.save without torch, so that tests can make good ones and bad ones."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

STORAGES = {
    "f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "i4": "IntStorage",
    "i2": "ShortStorage", "i1": "CharStorage", "u1": "ByteStorage", "b1": "BoolStorage",
}  # fmt: skip


class Named:
    """Pickled as a global of this name, whether there is such a thing or not."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self):
        raise AssertionError("only its name is written")


class Call:
    """Pickled as a call of a global with arguments."""

    def __init__(self, name: str, *arguments: Any):
        self.name, self.arguments = name, arguments


class View:
    """A tensor that looks at a storage (a one-dimensional array) with an offset, a shape and strides, in numbers."""

    def __init__(self, storage: np.ndarray, offset: int, shape: tuple, strides: tuple):
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides


class _Storage:
    def __init__(self, values: np.ndarray):
        self.values = values


class _Pickler(pickle._Pickler):
    """The pickler in Python, which can be told to write a name that cannot be imported."""

    def __init__(self, file: io.BytesIO, protocol: int = 2):
        super().__init__(file, protocol)
        self.storages: list[np.ndarray] = []

    def persistent_id(self, value: Any) -> tuple | None:
        if not isinstance(value, _Storage):
            return None
        known = [number for number, storage in enumerate(self.storages) if storage is value.values]
        number = known[0] if known else len(self.storages)
        if not known:
            self.storages.append(value.values)
        dtype = value.values.dtype
        kind = "BFloat16Storage" if dtype == ml_dtypes.bfloat16 else STORAGES[dtype.str[1:]]
        return ("storage", Named(f"torch.{kind}"), str(number), "cpu", value.values.size)

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Named):
            module, _, name = value.name.rpartition(".")
            self.write(f"c{module}\n{name}\n".encode())
        elif isinstance(value, Call):
            self.save_reduce(Named(value.name), value.arguments)
        elif isinstance(value, np.ndarray):
            steps = tuple(step // value.itemsize for step in np.zeros(value.shape, value.dtype).strides)
            self.save(View(value.reshape(-1), 0, value.shape, steps))
        elif isinstance(value, View):
            arguments = (_Storage(value.storage), value.offset, value.shape, value.strides, False, {})
            self.save_reduce(Named("torch._utils._rebuild_tensor_v2"), arguments)
        else:
            super().save(value, save_persistent_id)


def pickled(content: Any, protocol: int = 2) -> bytes:
    """A pickle in which names and calls stand as they are given."""
    file = io.BytesIO()
    _Pickler(file, protocol).dump(content)
    return file.getvalue()


def write_torch(
    path: Path, content: Any, *, compression: int = zipfile.ZIP_STORED, change: Callable[[bytes], bytes] = bytes
) -> Path:
    """Writes `content`, in which arrays are tensors; `change` may alter the pickle."""
    file = io.BytesIO()
    pickler = _Pickler(file)
    pickler.dump(content)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", change(file.getvalue()))
        archive.writestr("archive/byteorder", "little")
        for number, storage in enumerate(pickler.storages):
            archive.writestr(f"archive/data/{number}", storage.tobytes())
        archive.writestr("archive/version", "3\n")
    return path
