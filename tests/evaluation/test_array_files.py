"""Arrays in a file: what is written is what was given, block by block, and nothing is left of what failed."""

import sys
import tracemalloc

import numpy as np
import pytest
from sentences import refuses

from labram_jax.evaluation.array_files import Streamed, check_free, write_arrays

BLOCKS, ROWS, WIDTH = 64, 64, 256


def blocks(of: int = BLOCKS):
    for number in range(of):
        yield np.full((ROWS, WIDTH), number, np.float32)


@pytest.mark.parametrize("suffix", ["npz", "zarr"])
def test_no_array_is_whole_in_memory(suffix, tmp_path):
    if suffix == "zarr":
        zarr = pytest.importorskip("zarr")
    path = tmp_path / f"out.{suffix}"
    names = np.asarray(["a", "longer"])
    write_arrays(tmp_path / f"first.{suffix}", [Streamed("imports/a", ROWS, blocks(1))])
    tracemalloc.start()
    shapes = write_arrays(path, [Streamed("m/x", BLOCKS * ROWS, blocks()), Streamed("m/names", 2, iter([names]))])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < BLOCKS * ROWS * WIDTH * 4 / 2 and shapes == {"m/x": (BLOCKS * ROWS, WIDTH), "m/names": (2,)}
    stored = np.load(path) if suffix == "npz" else zarr.open_group(path, mode="r")
    assert stored["m/names"][:].tolist() == ["a", "longer"] and stored["m/x"].dtype == np.float32
    np.testing.assert_array_equal(stored["m/x"][:], np.concatenate([*blocks()]))


def test_what_fails_leaves_nothing(tmp_path):
    def failing():
        yield np.zeros((1, 2))
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        write_arrays(tmp_path / "out.npz", [Streamed("x", 2, failing())])
    assert not [*tmp_path.iterdir()]


def test_zarr_that_is_not_installed_is_named_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with refuses("zarr is not installed: pip install zarr"):
        check_free(tmp_path / "out.zarr")
