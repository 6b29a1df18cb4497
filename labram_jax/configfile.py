"""Configurations to and from plain data, and the files in `configs/`."""

import dataclasses
import difflib
import importlib.util
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from labram_jax.config import MODELS, STAGES, AnyStageConfig, ModelConfig, kind_of
from labram_jax.errors import InputError


def to_dict(config: AnyStageConfig | ModelConfig) -> dict:
    """A stage's or a model's configuration as plain data for JSON, with its kind."""
    return {"kind": kind_of(config), **dataclasses.asdict(config)}


def from_dict(values: Mapping, where: str = "the configuration") -> AnyStageConfig | ModelConfig:
    """The inverse of `to_dict`; raises InputError for an unknown kind or name, or a value of the wrong type."""
    values = dict(values)
    kind = values.pop("kind", None)
    # The stage "tokenizer" has a `run`, the model "tokenizer" has none.
    table = STAGES if "run" in values else MODELS
    if kind not in table:
        raise InputError(
            f"{where} is of the unknown kind {kind!r}; known are {', '.join(sorted({**STAGES, **MODELS}))}."
        )
    return _build(table[kind], values, where)


def _build(cls: type, values: Mapping, where: str):
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            hint = f"; perhaps {near[0]!r} is meant" if near else ""
            raise InputError(f"{where} has the unknown name {name!r} in {cls.__name__}{hint}.")
    return cls(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _value(hint, value, where: str):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return _build(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
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


def load_file(name: str) -> AnyStageConfig:
    """The variable `config` of a Python file: its path, or the name of one in `configs/`.

    Raises InputError where there is no such file, it does not run, or defines no stage's configuration.
    """
    path = Path(name) if name.endswith(".py") else config_folder() / f"{name}.py"
    if not path.is_file():
        known = sorted(p.stem for p in config_folder().glob("*.py") if p.stem != "__init__")
        near = difflib.get_close_matches(Path(name).stem, known, n=1)
        hint = f" (perhaps {near[0]!r}?)" if near else ""
        raise InputError(f"There is no configuration {name!r}{hint}: give a .py file or one of {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(f"labram_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} does not run ({type(error).__name__}: {error}): mend the file.") from error
    config = getattr(module, "config", None)
    if not isinstance(config, tuple(STAGES.values())):
        raise InputError(
            f"{path} defines no `config` of a stage ({', '.join(cls.__name__ for cls in STAGES.values())})."
        )
    # Dataclasses check neither the types of what they are given nor the values of a Literal.
    return from_dict(to_dict(config), str(path))


def config_folder() -> Path:
    """Where the project's own configurations are."""
    return Path(importlib.util.find_spec("configs").submodule_search_locations[0])
