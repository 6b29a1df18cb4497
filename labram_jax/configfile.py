"""Configurations to and from plain data, and the files in `configs/`."""

import dataclasses
import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from labram_jax.config import MODELS, STAGES, AnyStageConfig, ModelConfig, kind_of
from labram_jax.errors import InputError
from labram_jax.jsonfile import built


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
    return built(table[kind], values, where)


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
