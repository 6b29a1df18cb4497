"""Digests: of every array, which tell a damaged checkpoint from a good one, and of a model, by which it is known."""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from labram_jax.parallel.sharding import to_host

PyTree = Any


def digests(items: Mapping[str, PyTree]) -> dict[str, str]:
    """Sha256 of type, shape and bytes of every array, by path; the same however an array is sharded.

    Arrays come to the host one at a time, and are hashed beside each other.
    """
    with ThreadPoolExecutor(max_workers=4) as pool:
        pending = {
            jax.tree_util.keystr(path, simple=True, separator="/"): pool.submit(_digest, to_host(leaf))
            for path, leaf in jax.tree_util.tree_leaves_with_path(dict(items))
        }
        return {name: future.result() for name, future in pending.items()}


def model_digest(variables: PyTree, config: Mapping[str, Any]) -> str:
    """One sha256 of a model, wherever it was read from: of its variables and its configuration as plain data."""
    content = json.dumps([digests({"model": variables}), config], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _digest(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()
