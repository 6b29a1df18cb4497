"""Arrays that reach a file block by block, and are never whole in memory: one .npz file, or a Zarr group."""

import shutil
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labram_jax.errors import InputError

ZARR = ".zarr"


class Streamed(NamedTuple):
    """An array by its name and its length, whose blocks are computed when they are asked for."""

    name: str
    length: int
    blocks: Iterator[np.ndarray]


def write_arrays(path: Path, arrays: Iterable[Streamed]) -> dict[str, tuple[int, ...]]:
    """Writes arrays to a Zarr group where `path` ends with .zarr (the extra `zarr`), else to an .npz file.

    It appears under its name when it is whole. Returns the arrays' shapes. Raises InputError if it exists, or where
    zarr is not installed.
    """
    check_free(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        shapes = (_write_zarr if path.suffix == ZARR else _write_npz)(part, arrays)
        part.rename(path)
    except BaseException:
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
        raise
    return shapes


def check_free(path: Path) -> None:
    """Raises InputError where something has this name already, and for .zarr without zarr."""
    if path.exists():
        raise InputError(f"{path} exists already: choose another name or remove it first.")
    if path.suffix == ZARR:
        try:
            import zarr  # noqa: F401
        except ImportError:
            raise InputError(
                f"{path} would be a Zarr group, for which zarr is not installed: pip install zarr, or give a .npz file."
            ) from None


def _write_npz(path: Path, arrays: Iterable[Streamed]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as file:
        for array in arrays:
            with file.open(f"{array.name}.npy", "w", force_zip64=True) as member:
                for place, block in _placed(array):
                    if place == 0:
                        shapes[array.name] = (array.length, *block.shape[1:])
                        described = np.lib.format.dtype_to_descr(block.dtype)
                        header = {"descr": described, "fortran_order": False, "shape": shapes[array.name]}
                        np.lib.format.write_array_header_1_0(member, header)
                    member.write(np.ascontiguousarray(block).data.cast("B") if block.size else b"")
    return shapes


def _write_zarr(path: Path, arrays: Iterable[Streamed]) -> dict[str, tuple[int, ...]]:
    import zarr

    shapes = {}
    # Version 2 of the format is the one in which texts of a fixed length have a specification.
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for array in arrays:
        for place, block in _placed(array):
            if place == 0:
                shapes[array.name] = (array.length, *block.shape[1:])
                kept = group.create_array(
                    array.name, shape=shapes[array.name], dtype=block.dtype, chunks=block.shape, fill_value=None
                )
            kept[place : place + len(block)] = block
    return shapes


def _placed(array: Streamed) -> Iterator[tuple[int, np.ndarray]]:
    """Yields where each block begins; all together have the array's length."""
    place = 0
    for block in array.blocks:
        yield place, block
        place += len(block)
    if place != array.length:
        raise AssertionError(f"{array.name} has {place} rows of {array.length}")
