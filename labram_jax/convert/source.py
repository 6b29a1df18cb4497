"""Where tensors come from: a file of `torch.save`, a safetensors file, or a folder of braindecode."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from labram_jax.convert.braindecode import CONFIG_FILE, WEIGHT_FILES
from labram_jax.convert.pickled_objects import brief
from labram_jax.convert.recognise import KNOWN_FILES
from labram_jax.convert.torchfile import read_torch
from labram_jax.errors import InputError, refusal_in

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
# The entries of a checkpoint that hold a model's tensors, the first that is there.
WEIGHTS = ("model", "module", "state_dict")
# In the header of safetensors: the configuration, and whom the model saw, of an export of this project.
CONFIG_KEY, SEEN_KEY = "labram_jax", "labram_jax_seen"
# Larger files are none of the known ones, and hashing them would take longer than reading them.
LARGEST_KNOWN = 256 << 20


@dataclass
class Source:
    """Tensors by the names of their file, and what lay beside them.

    `known`: what the file is, if everyone has it. `config`: the configuration that an export of this project carries,
    or that of braindecode's folder. `beside`: the other entries of a checkpoint; nothing in them was looked at yet.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    known: str | None = None
    config: Mapping[str, Any] | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a file, or a folder of braindecode, rather than a checkpoint of this project."""
    path = Path(path)
    return path.is_file() or any((path / name).is_file() for name in WEIGHT_FILES)


def read_source(path: str | Path, weights: str | None = None) -> Source:
    """Reads the tensors of a file or folder.

    Args:
        path: a file of torch.save or safetensors, or a folder with config.json and one of them.
        weights: the entry of a checkpoint to take, such as model_ema; None takes the model's own.

    Raises:
        InputError: there is nothing, it is damaged, or it holds no tensors of that name.
    """
    path = Path(path)
    if path.is_dir():
        return read_source(_weights_in(path), weights)
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a .pth or .safetensors file, or a folder of braindecode.")
    if _is_safetensors(path):
        if weights is not None:
            raise InputError(f"{path} holds one set of tensors: leave --weights {weights} out.")
        source = _safetensors(path)
    else:
        source = _torch(path, weights)
    if path.name in WEIGHT_FILES:  # those of a folder, whose config.json tells what tensors do not
        source.config = source.config or _folder_config(path.parent)
    return source


def read_seen(path: str | Path) -> tuple[str | None, Mapping[str, Any] | None]:
    """What a file is, if everyone has it, and the ledger (plain data) of whom its model saw, if it carries one.

    Reads no tensor. Raises InputError where the file is damaged.
    """
    path = Path(path)
    path = _weights_in(path) if path.is_dir() else path
    if not _is_safetensors(path):
        return _known(path), None
    with _opened(path) as file:
        seen = (file.metadata() or {}).get(SEEN_KEY)
    return _known(path), _parsed(seen, path) if seen else None


def _weights_in(folder: Path) -> Path:
    found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} holds neither {' nor '.join(WEIGHT_FILES)}: give a folder of braindecode.")
    return found[0]


def _is_safetensors(path: Path) -> bool:
    """A length of eight bytes, and JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return path.suffix == ".safetensors" or (len(start) == 9 and start[8:] == b"{" and not start.startswith(b"PK"))


def _safetensors(path: Path) -> Source:
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = (file.metadata() or {}).get(CONFIG_KEY)
    return Source(path, tensors, _known(path), _parsed(config, path) if config else None)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file; raises InputError where it is not whole."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        if refusal_in(error):
            raise
        raise InputError(f"{path} is no whole safetensors file ({error}): obtain the file again.") from error


def _folder_config(path: Path) -> Mapping[str, Any] | None:
    file = path / CONFIG_FILE
    return _parsed(file.read_text(encoding="utf-8"), file) if file.is_file() else None


def _parsed(text: str, where: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} has a damaged configuration ({error}): obtain it again.") from error
    if not isinstance(values, dict):
        raise InputError(f"{where} has a damaged configuration (no object): obtain it again.")
    return values


def _torch(path: Path, weights: str | None) -> Source:
    content = read_torch(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no dict of tensors: save model.state_dict(), or a checkpoint with it.")
    entry = weights or next((name for name in WEIGHTS if isinstance(content.get(name), dict)), None)
    if entry is None:
        return Source(path, _arrays(content), _known(path))
    if not isinstance(content.get(entry), dict):
        offered = ", ".join(brief(name) for name, value in content.items() if isinstance(value, dict)) or "none"
        raise InputError(f"{path} has no weights {entry!r}: its entries that could be some are {offered}.")
    beside = {name: value for name, value in content.items() if isinstance(name, str) and name != entry}
    return Source(path, _arrays(content[entry]), _known(path), beside=beside)


def _arrays(entry: dict) -> dict[str, np.ndarray]:
    return {name: value for name, value in entry.items() if isinstance(name, str) and isinstance(value, np.ndarray)}


def _known(path: Path) -> str | None:
    if path.stat().st_size > LARGEST_KNOWN:
        return None
    with path.open("rb") as file:
        return KNOWN_FILES.get(hashlib.file_digest(file, "sha256").hexdigest())
