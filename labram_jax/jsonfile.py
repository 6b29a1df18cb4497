"""Files of text and JSON that are read and written with care, and what their plain data means."""

import dataclasses
import difflib
import hashlib
import json
import os
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from labram_jax.errors import DamageError, InputError

SEAL = "digest"


def read_json(path: str | os.PathLike, advice: str = "restore it from a copy") -> dict:
    """The object that a file holds.

    Raises DamageError, with what to do, where it holds something else; OSError where it cannot be read.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{path} is damaged, since it is no JSON ({error})", advice) from error
    if not isinstance(value, dict):
        raise DamageError(f"{path} is damaged, since it holds no object", advice)
    return value


def write_json(path: str | os.PathLike, value: dict) -> None:
    """Writes an object as `write_text` does."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes under a temporary name and renames, so that readers see the old file or the new one."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def sealed(value: dict) -> dict:
    """`value` with the digest of all else that it says, so that an edit is noticed."""
    value = {name: own for name, own in value.items() if name != SEAL}
    return {**value, SEAL: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}


def built(cls: type, values: Mapping, where: str):
    """The dataclass `cls` of plain data, such as JSON holds; its type annotations say what fits.

    Raises InputError for a name that is unknown or lacking, or a value of the wrong type; `where` is what it is of.
    """
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"; perhaps {near[0]!r} is meant" if near else ""
            raise InputError(f"{where} has the unknown name {name!r} in {cls.__name__}{hint}.")
    for field in dataclasses.fields(cls):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where} lacks {field.name!r} in {cls.__name__}.")
    return cls(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _value(hint, value, where: str):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return built(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if hint is typing.Any:
        return value
    if origin is dict and isinstance(value, Mapping):
        return {_value(arguments[0], key, where): _value(arguments[1], item, where) for key, item in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list | tuple):
        hints = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(hints) == len(value):
            return tuple(_value(own, item, where) for own, item in zip(hints, value, strict=True))
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and type(value) is hint:
        return value
    wanted = " or ".join(map(repr, arguments)) if origin is typing.Literal else _name_of(hint)
    raise InputError(f"{where} is {value!r}, but {wanted} is wanted.")


def _name_of(hint) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
