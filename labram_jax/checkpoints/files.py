"""What lies in a run's directory, by name."""

import os
from pathlib import Path

from labram_jax.errors import InputError

CONFIG, BEST, METRICS, SCORES, CHECKPOINTS = "config.json", "best.json", "metrics.jsonl", "scores.json", "checkpoints"
SKIPPED, LOCK, AUDIT = "skipped.jsonl", "lock", "audit.json"
# In a checkpoint's meta: digests of what the run is made from, the checkpoint of another run that it began with, and
# whom the model saw.
INPUTS, BRANCHED, SEEN = "inputs", "branched_from", "seen"


def local_directory(path: str | os.PathLike) -> Path:
    """An absolute path; raises InputError for an address of an object store, which must be mounted."""
    if "://" in str(path):
        raise InputError(f"{path} is an address, not a directory: mount the bucket and give the path of the mount.")
    return Path(path).absolute()
