"""A model on disk: variables and configuration of a checkpoint or an exported model, with a digest for every array."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from labram_jax.checkpoints.digests import digests
from labram_jax.checkpoints.files import BEST, CHECKPOINTS, local_directory
from labram_jax.errors import InputError

PyTree = Any
FORMAT = 1


def save_model(path: str | os.PathLike, variables: PyTree, config: dict) -> None:
    """Writes a model alone (variables and configuration) to a new directory that `load_model` reads."""
    path = local_directory(path)
    if path.exists():
        raise InputError(f"{path} exists already: choose another path or remove it first.")
    meta = {"format": FORMAT, "config": config, "metrics": {}, "digests": digests({"model": variables})}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(path, ocp.args.Composite(model=ocp.args.StandardSave(variables), meta=ocp.args.JsonSave(meta)))


def load_model(path: str | os.PathLike) -> tuple[dict[str, PyTree], dict]:
    """Reads the variables (numpy) and the configuration they were saved with.

    `path` is an exported model, one checkpoint (RUN/checkpoints/STEP), or a run: its best checkpoint, else its
    latest. Raises InputError if it is none of these, of another format version, or damaged.
    """
    where = find_model(path)
    meta = read_meta(where)
    handler = ocp.PyTreeCheckpointHandler()
    tree = reading(lambda: handler.metadata(where / "model").tree, where)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    wanted = ocp.args.PyTreeRestore(restore_args=as_numpy)
    with ocp.Checkpointer(handler) as reader:
        variables = reading(lambda: reader.restore(where / "model", args=wanted), where)
    check_digests({"model": variables}, meta["digests"], where)
    return variables, meta["config"]


def find_model(path: str | os.PathLike) -> Path:
    """The directory with model/ and meta/ that `load_model` would read."""
    path = local_directory(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a run, a checkpoint or an exported model.")
    if (path / "model").is_dir() and (path / "meta").is_dir():
        return path
    checkpoints = path / CHECKPOINTS
    if not checkpoints.is_dir():
        raise InputError(
            f"{path} is neither a run, nor a checkpoint, nor an exported model (which `labram-jax convert` makes of a "
            ".pth or .safetensors file)."
        )
    steps = sorted(int(p.name) for p in checkpoints.iterdir() if p.name.isdigit() and (p / "meta").is_dir())
    if not steps:
        raise InputError(f"{path} holds no finished checkpoint yet: train longer or give another run.")
    best = path / BEST
    chosen = json.loads(best.read_text())["step"] if best.is_file() else None
    return checkpoints / str(chosen if chosen in steps else steps[-1])


def read_meta(where: Path) -> dict:
    """The meta item of a checkpoint or exported model; raises InputError if it cannot be used here."""
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        meta = reading(lambda: reader.restore(where / "meta"), where)
    version = meta.get("format") if isinstance(meta, dict) else None
    if version != FORMAT:
        raise InputError(
            f"{where} has checkpoint format {version}, and this version reads format {FORMAT}: "
            "use the version of labram-jax that wrote it."
        )
    return meta


def reading(read: Callable[[], Any], where: Path) -> Any:
    """What `read` gives; InputError that names the array where the checkpoint `where` is damaged."""
    try:
        return read()
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # damage surfaces as whatever the storage layer raises, a bare Exception among others
        array = re.search(r'Error reading "([^"]+?)/[\d.]+"', "\n".join(_causes(error)))
        what = f"array {array[1].replace('.', '/')}" if array else "it"
        raise InputError(f"checkpoint {where} is damaged: {what} cannot be read.") from error


def _causes(error: BaseException | None) -> list[str]:
    """The messages of an error and of what led to it."""
    return [] if error is None else [str(error), *_causes(error.__cause__ or error.__context__)]


def check_digests(items: Mapping[str, PyTree], expected: Mapping[str, str], where: Path) -> None:
    """Raises InputError that names the first array whose contents are not what was saved."""
    for name, digest in digests(items).items():
        if expected.get(name) != digest:
            raise InputError(f"checkpoint {where} is damaged: array {name} is not what was saved.")
