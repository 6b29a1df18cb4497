"""Files of torch.save, made without torch: views, types, and every way in which a zip can be wrong."""

import zipfile

import ml_dtypes
import numpy as np
import pytest
from golden_data import FOLDER, weights
from sentences import refuses
from torch_writer import Call, View, write_torch

from labram_jax.convert.torchfile import read_torch


@pytest.mark.parametrize("name", ["labram", "vqnsp"])
def test_golden_checkpoints_hold_the_golden_tensors(name):
    content = read_torch(FOLDER / f"{name}.pth")
    assert content["epoch"] == 4 and content["args"].values["opt"] == "adamw"
    assert content["model"].keys() == weights(name).keys()
    for key, tensor in content["model"].items():
        np.testing.assert_array_equal(tensor, weights(name)[key])
        assert isinstance(tensor.base, np.memmap) or isinstance(tensor.base.base, np.memmap), "read, not mapped"


@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i8", "i4", "i2", "i1", "u1", "?", ml_dtypes.bfloat16])
def test_types(dtype, tmp_path):
    array = (np.arange(6) % 3).reshape(2, 3).astype(dtype)
    read = read_torch(write_torch(tmp_path / "a.pth", {"a": array, "none": array[:0], "one": array[0, :1].reshape(())}))
    assert read["a"].dtype == array.dtype and read["none"].shape == (0, 3) and read["one"].shape == ()
    np.testing.assert_array_equal(read["a"].astype("f8"), array.astype("f8"))


def test_views_share_their_storage(tmp_path):
    storage = np.arange(24, dtype="f4")
    content = {"rows": View(storage, 0, (4, 6), (6, 1)), "columns": View(storage, 1, (3, 4), (2, 6))}
    content["parameter"] = Call("torch._utils._rebuild_parameter", View(storage, 23, (1,), (1,)), True, {})
    read = read_torch(write_torch(tmp_path / "a.pth", content))
    np.testing.assert_array_equal(read["columns"], storage.reshape(4, 6)[:, 1::2].T)
    assert np.shares_memory(read["rows"], read["columns"]) and read["parameter"] == [23]


@pytest.mark.parametrize(
    "view",
    [
        ("beyond the end", 1, (4, 6), (6, 1)),
        ("strides beyond the end", 0, (2, 2), (23, 2)),
        ("negative offset", -1, (2,), (1,)),
        ("negative stride", 5, (2,), (-1,)),
        ("a bomb of one number", 0, (10**6, 10**6), (0, 0)),
        ("sizes that overflow", 0, (2**62, 4), (0, 1)),
        ("ranks that differ", 0, (2, 2), (1,)),
        ("more axes than any tensor", 0, (1,) * 40, (1,) * 40),
    ],
    ids=lambda view: view[0],
)
def test_views_must_lie_in_their_storage(view, tmp_path):
    path = write_torch(tmp_path / "a.pth", {"a": View(np.arange(24, dtype="f4"), *view[1:])})
    with refuses("a.pth is damaged"):
        read_torch(path)


def damaged(path, old: bytes, new: bytes):
    data = path.read_bytes()
    assert data.count(old)
    path.write_bytes(data.replace(old, new))


@pytest.fixture
def file(tmp_path):
    return write_torch(tmp_path / "a.pth", {"model": {"a": np.arange(1000, dtype="f4")}})


def test_other_files_are_named(tmp_path, file):
    (tmp_path / "text.pth").write_text("no zip at all")
    with refuses("text.pth is no file of torch.save"):
        read_torch(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with refuses("a zip, but no file of torch.save"):
        read_torch(tmp_path / "other.zip")
    (tmp_path / "old.pth").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    with refuses(r"old.pth was written by a torch before 1\.6"):
        read_torch(tmp_path / "old.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        read_torch(tmp_path / "absent.pth")


def test_truncated_files(file):
    data = file.read_bytes()
    for size in (40, 200, len(data) // 2, len(data) - 30, len(data) - 1):
        file.write_bytes(data[:size])
        with refuses("a.pth is truncated or damaged"):
            read_torch(file)


def test_compressed_members_and_bombs(tmp_path):
    path = write_torch(tmp_path / "a.pth", {"a": np.zeros(10**6, "f4")}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10**5
    with refuses("has the compressed member"):
        read_torch(path)


def test_encrypted_members(file):
    with zipfile.ZipFile(file) as archive:
        flags = [info.header_offset for info in archive.infolist()]
    data = bytearray(file.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert flags
    file.write_bytes(data)
    with refuses("is encrypted"):
        read_torch(file)


def test_changed_tensors_are_found_out(file):
    damaged(file, np.float32(500).tobytes(), np.float32(501).tobytes())
    with refuses("data/0 is not what was saved"):
        read_torch(file)


def test_storages_of_another_size(tmp_path):
    path = write_torch(
        tmp_path / "a.pth",
        {"a": np.arange(1000, dtype="f4")},
        change=lambda pickle: pickle.replace(b"M\xe8\x03", b"M\xff\x03"),
    )
    with refuses("storage 0 has another size"):
        read_torch(path)


def test_a_pickle_that_calls_something_is_refused_and_leaves_no_mark(tmp_path):
    mark = tmp_path / "mark"
    path = write_torch(tmp_path / "a.pth", {"model": Call("posix.system", f"touch {mark}"), "a": np.zeros(3, "f4")})
    with refuses(r"a\.pth asks for posix\.system, .* nothing was run"):
        read_torch(path)
    assert not mark.exists()


def test_whole_modules_are_refused_by_the_name_of_their_class(tmp_path):
    with refuses(r"braindecode\.models\.labram\.Labram"):
        read_torch(write_torch(tmp_path / "a.pth", Call("braindecode.models.labram.Labram")))
