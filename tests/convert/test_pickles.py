"""The machine that runs pickles: plain data as pickle itself reads it, and everything else refused by name."""

import argparse
import datetime
import decimal
import fractions
import pickle
import time
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from sentences import refuses
from torch_writer import Call, Named, pickled

from labram_jax.convert.pickled_objects import Inert, Namespace
from labram_jax.convert.pickles import MAX_INSTRUCTIONS, read_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = [
    None,
    [True, False, 0, -1, 255, 65536, -(2**31), 2**80, 1.5, -0.0],
    {"a": ("b", b"bytes", "ü"), 3: [], None: {}, (): 0} | {2.5: (1,), b"k": (1, 2, 3, 4)},
    OrderedDict([("x", 1), ("y", OrderedDict())]),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data_is_what_pickle_makes_of_it(protocol):
    content = [value for value in PLAIN if not isinstance(value, dict) or () not in value]
    assert read_pickle(pickle.dumps(content, protocol), "it") == content


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "f2", "i8", "u1", "?", "c8"])
def test_arrays_are_what_pickle_makes_of_them(protocol, dtype):
    array = (np.arange(24).reshape(2, 3, 4) % 5).astype(dtype)
    for content in (array, np.asfortranarray(array), array[:, ::2], array[:0], np.array(3, dtype)):
        read = read_pickle(pickle.dumps({"X": content, "y": 1}, protocol), "it")["X"]
        assert read.dtype == content.dtype
        np.testing.assert_array_equal(read, content)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_and_shared_objects(protocol):
    shared = np.float32(2.5)
    assert read_pickle(pickle.dumps([shared, shared, np.int64(-3)], protocol), "it") == [2.5, 2.5, -3]
    inner = []
    read = read_pickle(pickle.dumps([inner, inner], protocol), "it")
    assert read[0] is read[1]


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_namespaces_are_inert(protocol):
    read = read_pickle(pickle.dumps(argparse.Namespace(lr=5e-4, betas=[0.9, 0.98]), protocol), "it")
    assert type(read) is Namespace and read.values == {"lr": 5e-4, "betas": [0.9, 0.98]}


BESIDE_WEIGHTS = {
    "path": Path("/some/where"),
    "windows": PureWindowsPath("C:/x"),
    "now": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "day": datetime.date(2026, 1, 2),
    "took": datetime.timedelta(seconds=3),
    "id": uuid.UUID(int=5),
    "share": fractions.Fraction(1, 3),
    "price": decimal.Decimal("1.5"),
    "complex": 1 + 2j,
    "slice": slice(1, 2),
    "range": range(3),
}


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_what_lies_beside_weights_does_no_harm(protocol):
    read = read_pickle(pickle.dumps(BESIDE_WEIGHTS, protocol), "it")
    assert read.keys() == BESIDE_WEIGHTS.keys() and {type(value) for value in read.values()} == {Inert}
    containers = {
        "set": {1, "a"}, "frozen": frozenset((2,)), "deque": deque([1, 2], 5), "counter": Counter("aab"),
        "default": defaultdict(list, x=[1]), "simple": types.SimpleNamespace(a=1),
    }  # fmt: skip
    read = read_pickle(pickle.dumps(containers, protocol), "it")
    assert sorted(map(str, read["set"])) == ["1", "a"] and read["frozen"] == [2] and read["deque"] == [1, 2]
    assert read["default"] == {"x": [1]} and read["simple"].values == {"a": 1}
    with refuses("calls (builtins|__builtin__)\\.list, which was refused"):
        read_pickle(pickled(Call("builtins.list", (1,)), 2), "it")


class Mark:
    """Pickled as a call that would leave a file behind."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "x")


def test_a_call_is_refused_by_its_name_and_nothing_runs(tmp_path):
    mark = tmp_path / "mark"
    data = pickle.dumps({"model": Mark(str(mark))})
    with refuses(r"it asks for _?io\.open, which no checkpoint .* nothing was run"):
        read_pickle(data, "it")
    assert not mark.exists()
    data = pickled(Call("posix.system", f"touch {mark}"))
    with refuses(r"asks for posix\.system,"):
        read_pickle(data, "it")
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists(), "the pickle leaves no mark even where it is run, so this test proves nothing"


@pytest.mark.parametrize(
    "name", ["builtins.eval", "builtins.getattr", "numpy.load", "torch.load", "collections.OrderedDict.update"]
)
def test_other_names_are_refused(name):
    with refuses(name.replace(".", r"\.")):
        read_pickle(pickled([Named(name)]), "it")


BAD = {
    "no end": b"\x80\x02]",
    "nothing": b"",
    "empty stack": b"\x80\x02.",
    "mark as value": b"(.",
    "mark in the memo": b"(q\x00.",
    "append to a number": b"\x80\x02K\x01K\x02a.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "key that takes long to hash": b"\x80\x02}K\x01\x85K\x01s.",
    "odd items": b"\x80\x02}(K\x01u.",
    "unknown memo": b"\x80\x02h\x05.",
    "extension": b"\x80\x02\x82\x01.",
    "persistent id": b"\x80\x02K\x01Q.",
    "array without its state": pickled(Call("numpy.core.multiarray.scalar", 1, b"")),
    "objects in an array": pickle.dumps(np.array([{}], dtype=object)),
    "long text": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "negative length": b"\x80\x02\x8b\xff\xff\xff\xffabc.",
    "a number too long to be written": b"\x80\x02cnumpy\ndtype\n"
    + pickled("f4")[2:-1]
    + b"\x85R"
    + b"(K\x03\x8b\x00\x10\x00\x00"
    + b"\x7f" * 4096
    + b"tb.",
    "huge memo number": b"\x80\x02]r\xff\xff\xff\xff",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_damage_is_told_in_one_sentence(data):
    with refuses("it (is damaged|asks for|calls)|A pickled array has the type"):
        read_pickle(data, "it")


def test_endless_pickles_are_given_up():
    start = time.perf_counter()
    with refuses("more than"):
        read_pickle(b"\x80\x02" + b"]" * MAX_INSTRUCTIONS + b".", "it")
    assert time.perf_counter() - start < 20


def test_a_few_bytes_do_not_become_many():
    """The same text encoded again and again, and a tuple nested so that it would take for ever to hash."""
    text = "x" * 100_000
    with refuses("more bytes than the pickle holds"):
        read_pickle(pickled([Call("_codecs.encode", text, "latin1") for _ in range(100)]), "it")
    nested = b"\x80\x02K\x01" + b"q\x00h\x00\x86" * 60
    assert isinstance(read_pickle(nested + b".", "it"), tuple)
    with refuses("no plain values"):
        read_pickle(b"\x80\x02}" + nested[2:] + b"K\x01s.", "it")


def shared(opcode: bytes, levels: int) -> bytes:
    """A value that holds twice another one that holds twice another one, and so on: a few bytes, endless if written."""
    return b"K\x01" + b"".join(b"q\x00" + opcode for _ in range(levels))


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02cnumpy\ndtype\n" + shared(b"h\x00\x86", 60) + b"\x85R.",
        b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R(K\x03" + shared(b"h\x00\x86", 60) + b"tb.",
        b"\x80\x02cnumpy\ndtype\n" + b"]" * 100_000 + b"a" * 99_999 + b"\x85R.",
    ],
    ids=["as a type", "as a byte order", "deep"],
)
def test_what_is_nested_is_neither_written_nor_hashed(data):
    start = time.perf_counter()
    with refuses("has the type 'tuple'|has the type 'list'|without its byte order"):
        read_pickle(data, "it")
    assert time.perf_counter() - start < 5
