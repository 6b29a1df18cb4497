"""Where tensors come from: a file of `torch.save`, a safetensors file, or a folder with either, also in shards."""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from labram_jax.convert.braindecode import CONFIG_FILE
from labram_jax.convert.known import known_by
from labram_jax.convert.pickled_objects import brief
from labram_jax.convert.torchfile import read_torch
from labram_jax.convert.weight_files import INDEX_FILES, WEIGHT_FILES, has_weights, shards, weights_in
from labram_jax.errors import InputError, refusal_in

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
# The entries of a checkpoint that hold a model's tensors, the first that is there: official, DeepSpeed's, Lightning's.
WEIGHTS = ("model", "module", "state_dict", "model_state_dict")
# What wrappers put before the names of all tensors: DDP and DeepSpeed, torch.compile, Lightning, and larger models.
PREFIXES = ("module.", "_orig_mod.", "model.", "encoder.", "student.")
# In the header of safetensors: the configuration, and whom the model saw, of an export of this project.
CONFIG_KEY, SEEN_KEY = "labram_jax", "labram_jax_seen"
# Larger files are none of the known ones, and hashing them would take longer than reading them.
LARGEST_KNOWN = 256 << 20


@dataclass
class Source:
    """Tensors by the names of their file, and what lay beside them.

    `known`: what the file is, if everyone has it. `config`: the configuration that an export of this project carries.
    `options`: what a config.json beside it says. `beside`: the other entries of a checkpoint; nothing in them was
    looked at yet. `prefix`: what stands before all names in the file, and was taken off. `entries`: those that may hold
    weights.
    """

    path: Path
    tensors: dict[str, np.ndarray]
    known: str | None = None
    config: Mapping[str, Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    entries: Collection[str] = ()


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a file, or a folder of other tools' weights, rather than a checkpoint of this project."""
    path = Path(path)
    return path.is_file() or (path.is_dir() and has_weights(path))


def read_source(path: str | Path, weights: str | None = None) -> Source:
    """Reads the tensors of a file or folder.

    Args:
        path: a file of torch.save or safetensors, an index of shards, or a folder with one of them.
        weights: what of a file to take, such as model_ema: an entry of a checkpoint, or the tensors whose names begin
            with it and a dot. None takes the model's own.

    Raises:
        InputError: there is nothing, it is damaged, or it holds no tensors of that name.
    """
    path = Path(path)
    if path.is_dir():
        return read_source(weights_in(path), weights)
    if not path.is_file():
        raise InputError(f"There is no file {path}: give a .pth or .safetensors file, or a folder of braindecode.")
    if path.name in INDEX_FILES:
        source = _sharded(path)
    else:
        source = _safetensors(path) if _is_safetensors(path) else _torch(path, weights)
    if weights is not None and weights not in source.entries:
        _choose(source, weights)
    _strip(source)
    if path.name in WEIGHT_FILES + INDEX_FILES:  # those of a folder, whose config.json tells what tensors do not
        source.options = _folder_config(path.parent)
    return source


def read_seen(path: str | Path) -> tuple[str | None, Mapping[str, Any] | None]:
    """What a file is, if everyone has it, and the ledger (plain data) of whom its model saw, if it carries one.

    Reads no tensor. Raises InputError where the file is damaged.
    """
    path = Path(path)
    path = weights_in(path) if path.is_dir() else path
    if not _is_safetensors(path):
        return _known(path), None
    with _opened(path) as file:
        seen = (file.metadata() or {}).get(SEEN_KEY)
    return _known(path), _parsed(seen, path) if seen else None


def _choose(source: Source, weights: str) -> None:
    """Keeps the tensors of one part of a model; raises InputError where there is no such part."""
    part = f"{weights}."
    chosen = {name.removeprefix(part): tensor for name, tensor in source.tensors.items() if name.startswith(part)}
    if not chosen and not source.entries:
        raise InputError(f"{source.path} holds one set of tensors: leave --weights {weights} out.")
    if not chosen:
        offered = ", ".join(map(brief, source.entries))
        raise InputError(f"{source.path} has no weights {weights!r}: its entries that could be some are {offered}.")
    source.tensors, source.prefix = chosen, part


def _strip(source: Source) -> None:
    """Takes off what stands before the names of all tensors, numbers alone such as counts left out of account."""
    while names := [name for name, tensor in source.tensors.items() if tensor.ndim]:
        found = next((prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in names)), None)
        if found is None:
            return
        source.tensors = {name.removeprefix(found): tensor for name, tensor in source.tensors.items()}
        source.prefix += found


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


def _sharded(index: Path) -> Source:
    """The tensors of all shards that an index names, and the configuration that the first of them carries."""
    source = Source(index, {})
    for name, wanted in shards(index).items():
        path = index.parent / name
        if not path.is_file():
            raise InputError(f"{path.parent} lacks {name}, one of the shards of {index.name}: obtain all of them.")
        shard = _safetensors(path) if _is_safetensors(path) else _torch(path, None)
        if lacking := sorted(wanted - shard.tensors.keys()):
            raise InputError(f"{path} lacks {lacking[0]}, which {index.name} says it holds: obtain it again.")
        source.tensors |= shard.tensors
        source.config = source.config or shard.config
    return source


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


def _folder_config(path: Path) -> Mapping[str, Any]:
    file = path / CONFIG_FILE
    return _parsed(file.read_bytes(), file) if file.is_file() else {}


def _parsed(text: str | bytes, where: Path) -> Mapping[str, Any]:
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
    entries = [name for name, value in content.items() if isinstance(name, str) and isinstance(value, dict)]
    entry = weights if weights in entries else next((name for name in WEIGHTS if name in entries), None)
    if entry is None:
        return Source(path, _arrays(content), _known(path), entries=entries)
    beside = {name: value for name, value in content.items() if isinstance(name, str) and name != entry}
    return Source(path, _arrays(content[entry]), _known(path), beside=beside, entries=entries)


def _arrays(entry: dict) -> dict[str, np.ndarray]:
    return {name: value for name, value in entry.items() if isinstance(name, str) and isinstance(value, np.ndarray)}


def _known(path: Path) -> str | None:
    if path.stat().st_size > LARGEST_KNOWN:
        return None
    with path.open("rb") as file:
        known = known_by(hashlib.file_digest(file, "sha256").hexdigest())
    return None if known is None else str(known)
