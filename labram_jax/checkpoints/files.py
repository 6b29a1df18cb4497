"""What lies in a run's directory, by name, and how its small files are written."""

import json
import os
from pathlib import Path

from labram_jax.errors import InputError

CONFIG, BEST, METRICS, SCORES, CHECKPOINTS = "config.json", "best.json", "metrics.jsonl", "scores.json", "checkpoints"


def local_directory(path: str | os.PathLike) -> Path:
    """An absolute path; raises InputError for an address of an object store, which must be mounted."""
    if "://" in str(path):
        raise InputError(f"{path} is an address, not a directory: mount the bucket and give the path of the mount.")
    return Path(path).absolute()


def write_json(path: Path, value: dict) -> None:
    """Writes under a temporary name and renames, so that readers see the old file or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n")
    part.replace(path)
