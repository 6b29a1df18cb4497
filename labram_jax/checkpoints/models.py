"""A model on disk: variables and configuration of a checkpoint or an exported model, with a digest for every array."""

import errno
import functools
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from labram_jax.checkpoints.digests import digests, sha256_digests
from labram_jax.checkpoints.files import BEST, CHECKPOINTS, SEEN, local_directory
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.errors import MAY_PASS, RETRY_PAUSES, DamageError, InputError, causes, exit_code
from labram_jax.jsonfile import SEAL, read_json, sealed

PyTree = Any
FORMAT = 2
# Checkpoints of earlier formats that are read, and how their arrays were digested.
DIGESTS = {1: sha256_digests, FORMAT: digests}


def save_model(path: str | os.PathLike, variables: PyTree, config: dict, seen: Ledger | None = None) -> None:
    """Writes a model alone (variables, configuration, whom it saw) to a new directory that `load_model` reads."""
    path = local_directory(path)
    if path.exists():
        raise InputError(f"{path} exists already: choose another path or remove it first.")
    meta = make_meta(config, {}, {"model": variables}, **({} if seen is None else {SEEN: seen.plain()}))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(path, ocp.args.Composite(model=ocp.args.StandardSave(variables), meta=ocp.args.JsonSave(meta)))


def load_model(path: str | os.PathLike) -> tuple[dict[str, PyTree], dict]:
    """Reads the variables (numpy) and the configuration they were saved with.

    `path` is an exported model, one checkpoint (RUN/checkpoints/STEP), or a run: its best checkpoint, else its
    latest. Raises InputError if it is none of these or of another format version, DamageError if it is damaged.
    """
    where = find_model(path)
    meta = read_meta(where)
    return load_item(where, "model", meta), meta["config"]


def load_item(where: Path, item: str, meta: dict) -> PyTree:
    """Reads the arrays (numpy) of one item of a checkpoint, "model" or "optimizer"; `meta` holds their digests."""
    handler = ocp.PyTreeCheckpointHandler()
    tree = reading(lambda: handler.metadata(where / item).tree, where)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    wanted = ocp.args.PyTreeRestore(restore_args=as_numpy)
    with ocp.Checkpointer(handler) as reader:
        tree = reading(lambda: reader.restore(where / item, args=wanted), where)
    check_digests({item: tree}, meta, where)
    return tree


def find_model(path: str | os.PathLike) -> Path:
    """The directory with model/ and meta/ that `load_model` would read."""
    path = local_directory(path)
    if not path.exists():
        raise InputError(f"{path} does not exist: give a run, a checkpoint or an exported model.")
    if (path / "model").is_dir() and (path / "meta").is_dir():
        return path
    if not (path / CHECKPOINTS).is_dir():
        raise InputError(
            f"{path} is neither a run, nor a checkpoint, nor an exported model (which `labram-jax convert` makes of a "
            ".pth or .safetensors file)."
        )
    steps = finished_steps(path)
    if not steps:
        raise InputError(f"{path} holds no finished checkpoint yet: train longer or give another run.")
    best = path / BEST
    chosen = read_json(best, "delete it to use the latest checkpoint").get("step") if best.is_file() else None
    return path / CHECKPOINTS / str(chosen if chosen in steps else steps[-1])


def finished_steps(run: Path) -> list[int]:
    """Steps of the checkpoints of a run that are whole, ascending; only looks."""
    folder = run / CHECKPOINTS
    folders = folder.iterdir() if folder.is_dir() else ()
    return sorted(int(path.name) for path in folders if path.name.isdigit() and (path / "meta").is_dir())


def make_meta(config: dict, metrics: Mapping[str, float], items: Mapping[str, PyTree], **more: Any) -> dict:
    """What is written beside the arrays of `items`, with a digest of each of them and one of itself."""
    return sealed({"format": FORMAT, **more, "config": config, "metrics": dict(metrics), "digests": digests(items)})


def read_meta(where: Path) -> dict:
    """The meta item of a checkpoint or exported model.

    Raises InputError for another format version, DamageError where it is not what was written.
    """
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        meta = reading(lambda: reader.restore(where / "meta"), where)
    version = meta.get("format") if isinstance(meta, dict) else None
    if version not in DIGESTS:
        raise InputError(
            f"{where} has checkpoint format {version}, and this version reads formats up to {FORMAT}: "
            "use the version of labram-jax that wrote it."
        )
    # Earlier versions wrote no seal.
    whole = all(isinstance(meta.get(name), dict) for name in ("config", "metrics", "digests"))
    if not whole or (SEAL in meta and sealed(meta) != meta):
        raise damage(where, "its meta is not what was saved")
    return meta


def reading(read: Callable[[], Any], where: Path) -> Any:
    """What `read` gives, tried again for a while where the storage fails.

    Raises DamageError, which names the array, where the checkpoint `where` is damaged; OSError where a file may not or
    cannot be read, which says nothing about what is in it.
    """
    _expect_late_reads()
    for pause in (*RETRY_PAUSES, None):
        try:
            return read()
        except (MemoryError, jax.errors.JaxRuntimeError):
            raise
        except Exception as error:  # the storage layer raises whatever it likes, a bare Exception among others
            failure = storage_failure(error)
            if failure is None:
                array = re.search(r'Error reading "([^"]+?)/[\d.]+"', "\n".join(map(str, causes(error))))
                what = f"array {array[1].replace('.', '/')}" if array else "it"
                _end_quietly(error)
                raise damage(where, f"{what} cannot be read") from error
            if pause is None or exit_code(failure) != MAY_PASS:
                raise failure from error
            time.sleep(pause)


def _end_quietly(error: Exception) -> None:
    """Ends the coroutines that Orbax began and did not await when it failed, each of which would print lines later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for one in causes(error):
            traceback.clear_frames(one.__traceback__)


def _expect_late_reads() -> None:
    """Lets arrays that arrive when Orbax has failed on another, and waits for none any more, say nothing.

    For good, since they arrive when they do; each would print that the event loop is closed.
    """
    if getattr(sys.unraisablehook, "func", None) is not _unless_late:
        sys.unraisablehook = functools.partial(_unless_late, sys.unraisablehook)


def _unless_late(say: Callable[[Any], Any], unraisable: Any) -> None:
    if str(unraisable.exc_value) != "Event loop is closed":
        say(unraisable)


def damage(where: Path, what: str) -> DamageError:
    """The error for a checkpoint of which `what` is proven."""
    return DamageError(f"checkpoint {where} is damaged ({what})", "use another one")


def storage_failure(error: BaseException) -> OSError | None:
    """The operating system's reason, if there is one that is no sign of damage; a missing or cut file is."""
    for cause in causes(error):
        number, path = getattr(cause, "errno", None), getattr(cause, "filename", None)
        # TensorStore tells it in words alone.
        code = re.search(r"os_error_code='(\d+)'", str(cause))
        if number is None and code:
            file = re.search(r'Failed to [a-z ]+: "([^"]+)"', str(cause))
            number, path = int(code[1]), file and file[1]
        if number is not None and number != errno.ENOENT:
            return OSError(number, os.strerror(number), path)
    return None


def check_digests(items: Mapping[str, PyTree], meta: Mapping[str, Any], where: Path) -> None:
    """Raises DamageError that names the first array whose contents are not those that `meta` has digests of."""
    for name, digest in DIGESTS[meta["format"]](items).items():
        if meta["digests"].get(name) != digest:
            raise damage(where, f"array {name} is not what was saved")
