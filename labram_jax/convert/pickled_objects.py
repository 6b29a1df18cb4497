"""What a pickle may make beside plain data: numpy arrays and scalars, dicts, lists, and inert stand-ins.

Every function here takes the place of what a pickle names, gets the arguments that the pickle gives, and checks them.
What they return refers to memory that is there already, so that a small pickle cannot become a large object.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from labram_jax.errors import InputError

Builder = Callable[..., Any]


@dataclass(frozen=True)
class Global:
    """What a pickle names: never looked up in a module."""

    name: str


@dataclass
class Namespace:
    """Stands in for `argparse.Namespace`: its attributes as a dict."""

    values: dict[Any, Any] = field(default_factory=dict)


@dataclass
class Inert:
    """Stands in for what lies beside weights and says nothing of them, such as a path or a date."""

    arguments: tuple[Any, ...]


@dataclass
class Unfinished:
    """An object between the instruction that makes it and the one that fills it."""

    finish: Callable[[Any], Any]
    memo_keys: list[int] = field(default_factory=list)


class Damaged(Exception):
    """The pickle is no program that any pickler would write."""


# How a pickled type says its byte order: none, little or big (a pickle never says "native").
_ORDERS = MappingProxyType({"|": "", "<": "<", ">": ">"})


def brief(value: object) -> str:
    """A value of a pickle for a message: one line, not too long.

    Of containers only the type is told: lists that hold each other take a time to write that doubles with each level.
    """
    if not isinstance(value, str | bytes | int | float | Exception | None):
        return type(value).__name__
    try:
        text = " ".join(str(value).split())
    except ValueError:  # a number of more digits than Python writes
        text = type(value).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


def _dtype(code: str, *_) -> Unfinished:
    if not isinstance(code, str) or not re.fullmatch(r"b1|[biufc][1248]|c16", code):
        raise InputError(f"A pickled array has the type {brief(code)!r}: only numbers can be read.")

    def finish(state: tuple) -> np.dtype:
        order = state[1]
        # A tuple of shared tuples would take a time to hash that doubles with each level.
        if not isinstance(order, str):
            raise Damaged("an array without its byte order")
        return np.dtype(_ORDERS[order] + code)

    return Unfinished(finish)


def _array(shape: Any, dtype: Any, data: Any, order: str) -> np.ndarray:
    """A view of the bytes, if they are exactly those that the shape asks for."""
    if not isinstance(dtype, np.dtype) or not isinstance(data, bytes | bytearray):
        raise Damaged("an array without its numbers")
    if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
        raise Damaged("an array without its shape")
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _reconstruct(kind: Any, *_) -> Unfinished:
    if not isinstance(kind, Global) or kind.name != "numpy.ndarray":
        raise Damaged("an array of an unknown kind")

    def finish(state: tuple) -> np.ndarray:
        _, shape, dtype, fortran, data = state
        return _array(shape, dtype, data, "F" if fortran else "C")

    return Unfinished(finish)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return _array(shape, dtype, data, "F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any) -> Any:
    return _array((), dtype, data, "C").item()


def _encode(text: Any, encoding: Any) -> bytes:
    """What Python 3 writes for bytes in old protocols."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Damaged("bytes in an unknown encoding")
    return text.encode("latin1")


def _empty_dict() -> dict:
    return {}


def _no_bytes() -> bytes:
    """How old protocols write bytes of length 0."""
    return b""


def _namespace() -> Namespace:
    return Namespace()


def _inert(*arguments: Any) -> Inert:
    return Inert(arguments)


def _list(items: Any = (), *_) -> list:
    """Of a set, whose items come with its call, or of a deque: as a list, so that nothing is hashed or copied."""
    if items != () and not isinstance(items, list):
        raise Damaged("a set without its items")
    return items or []


def _dict_of(*_) -> dict:
    return {}


# Under the names of Python 3 and 2, which protocols before 3 write.
_BUILTINS = ("builtins", "__builtin__")
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "Path")
_BESIDE_WEIGHTS = (
    *(f"{module}.{name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(f"{module}.{name}" for module in _BUILTINS for name in ("complex", "slice", "range", "xrange")),
    *("uuid.UUID", "decimal.Decimal", "fractions.Fraction", "torch.torch_version.TorchVersion"),
)
# numpy 2 renamed its core; both names are met.
BUILDERS: Mapping[str, Builder | None] = MappingProxyType(
    {
        "collections.OrderedDict": _empty_dict,
        "argparse.Namespace": _namespace,
        "types.SimpleNamespace": _namespace,
        **dict.fromkeys(_BESIDE_WEIGHTS, _inert),
        **{f"{module}.{name}": _list for module in _BUILTINS for name in ("set", "frozenset")},
        "collections.deque": _list,
        "collections.Counter": _dict_of,
        "collections.defaultdict": _dict_of,
        "lightning.fabric.utilities.data.AttributeDict": _dict_of,
        "lightning_fabric.utilities.data.AttributeDict": _dict_of,
        "pytorch_lightning.utilities.parsing.AttributeDict": _dict_of,
        # What a defaultdict makes of a key that it lacks: names alone.
        **{f"{module}.{name}": None for module in _BUILTINS for name in ("int", "float", "str", "list", "dict")},
        "_codecs.encode": _encode,
        "__builtin__.bytes": _no_bytes,
        "builtins.bytes": _no_bytes,
        "numpy.ndarray": None,
        "numpy.dtype": _dtype,
        **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
        **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
        **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
    }
)
