"""Configurations to and from plain data, and the files in `configs/`, those of benchmarks among them."""

import dataclasses
import difflib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labram_jax.config import MODELS, STAGES, AnyStageConfig, ModelConfig, kind_of
from labram_jax.errors import InputError
from labram_jax.jsonfile import built
from labram_jax.protocol import Protocol


def to_dict(config: AnyStageConfig | ModelConfig) -> dict:
    """A stage's or a model's configuration as plain data for JSON, with its kind."""
    return {"kind": kind_of(config), **dataclasses.asdict(config)}


def from_dict(values: Mapping, where: str = "the configuration") -> AnyStageConfig | ModelConfig:
    """The inverse of `to_dict`; raises InputError for an unknown kind or name, or a value of the wrong type."""
    values = dict(values)
    kind = values.pop("kind", None)
    # The stage "tokenizer" has a `run`, the model "tokenizer" has none.
    table = STAGES if "run" in values else MODELS
    if not isinstance(kind, str) or kind not in table:
        raise InputError(
            f"{where} is of the unknown kind {kind!r}; known are {', '.join(sorted({**STAGES, **MODELS}))}."
        )
    return built(table[kind], values, where)


def load_file(name: str) -> AnyStageConfig:
    """The variable `config` of a Python file: its path, or the name of one in `configs/`.

    Raises InputError where there is no such file, it does not run, or defines no stage's configuration.
    """
    path, config = _variable(name, "config", "configuration", config_folder())
    if not isinstance(config, tuple(STAGES.values())):
        raise InputError(
            f"{path} defines no `config` of a stage ({', '.join(cls.__name__ for cls in STAGES.values())})."
        )
    # Dataclasses check neither the types of what they are given nor the values of a Literal.
    return from_dict(to_dict(config), str(path))


def load_protocol(name: str) -> Protocol:
    """The variable `protocol` of a Python file: its path, or the name of one in `configs/benchmarks/`.

    Raises InputError where there is no such file, it does not run, or defines no protocol.
    """
    path, protocol = _variable(name, "protocol", "protocol", config_folder() / "benchmarks")
    if not isinstance(protocol, Protocol):
        raise InputError(f"{path} defines no `protocol` (labram_jax.protocol.Protocol).")
    for config in protocol.finetuning.values():
        from_dict(to_dict(config), str(path))
    return protocol


def protocols() -> list[Protocol]:
    """All protocols in `configs/benchmarks/`."""
    return [load_protocol(name) for name in _known(config_folder() / "benchmarks")]


def configurations() -> list[str]:
    """The names of all stages' configurations in `configs/`."""
    return _known(config_folder())


def _variable(name: str, variable: str, what: str, folder: Path) -> tuple[Path, Any]:
    """The path of a Python file, given as such or by its name in a folder (with - for _), and a variable of it."""
    path = Path(name) if name.endswith(".py") else folder / f"{name.replace('-', '_')}.py"
    if not path.is_file():
        known = _known(folder)
        near = difflib.get_close_matches(Path(name).stem, known, n=1)
        hint = f" (perhaps {near[0]!r}?)" if near else ""
        raise InputError(f"There is no {what} {name!r}{hint}: give a .py file or one of {', '.join(known)}.")
    spec = importlib.util.spec_from_file_location(f"labram_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{path} does not run ({type(error).__name__}: {error}): mend the file.") from error
    return path, getattr(module, variable, None)


def _known(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def config_folder() -> Path:
    """Where the project's own configurations are."""
    return Path(importlib.util.find_spec("labram_jax.configs").submodule_search_locations[0])
