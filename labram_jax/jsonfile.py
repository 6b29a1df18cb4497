"""JSON files that are read and written with care."""

import json
import os
from pathlib import Path

from labram_jax.errors import DamageError


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
    """Writes under a temporary name and renames, so that readers see the old file or the new one."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(json.dumps(value, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
