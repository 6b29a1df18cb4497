"""Digests: of every array, which tell a damaged checkpoint from a good one, and of a model, by which it is known."""

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, UInt32

from labram_jax.parallel.sharding import to_host

PyTree = Any
Words = UInt32[Array | np.ndarray, "..."]
# Two sums of 32 bit, each with its own multiplier.
_MULTIPLIERS = (0x9E3779B1, 0x85EBCA77)
# Words that are digested at one time on the host, where no compiler saves the intermediate arrays.
_CHUNK = 2**16
# Options that configurations did not have when models were first known by their digests, as they are when off.
LATER = (("amplitude", False), ("filters", False))


def digests(items: Mapping[str, PyTree]) -> dict[str, str]:
    """Type, shape and 64 bits of the contents of every array, by path; the same however an array is sharded.

    Every word is mixed with its place in the array, one to one, and the results are added up modulo 2^32, twice: so
    each device digests what it holds, and a change of any one word always shows. Arrays of JAX are digested on their
    devices, where all processes must ask, and those of NumPy on the host. Nobody is kept from forging them.
    """
    leaves = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(items))
    }
    placed = {name: leaf for name, leaf in leaves.items() if isinstance(leaf, jax.Array)}
    sums = _on_devices(placed) if placed else {}
    sums |= {name: _on_the_host(np.asarray(leaf)) for name, leaf in leaves.items() if name not in placed}
    return {
        name: f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]:{sums[name][0]:08x}{sums[name][1]:08x}"
        for name, leaf in leaves.items()
    }


def sha256_digests(items: Mapping[str, PyTree]) -> dict[str, str]:
    """Sha256 of type, shape and bytes of every array, by path, on the host; checkpoints of format 1 have these."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): _sha256(to_host(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(items))
    }


def model_digest(variables: PyTree, config: Mapping[str, Any]) -> str:
    """One sha256 of a model, wherever it was read from: of its variables and its configuration as plain data."""
    content = json.dumps([sha256_digests({"model": variables}), _without_later(config)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _without_later(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the options of `LATER` that are off, so that a model keeps the digest it had."""
    return {
        name: _without_later(value) if isinstance(value, Mapping) else value
        for name, value in config.items()
        if (name, value) not in LATER
    }


def _sha256(array: np.ndarray) -> str:
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()


def _on_devices(arrays: Mapping[str, jax.Array]) -> dict[str, UInt32[np.ndarray, "2"]]:
    sharding = next(iter(arrays.values())).sharding
    everywhere = NamedSharding(sharding.mesh, P()) if isinstance(sharding, NamedSharding) else None
    return jax.device_get(_compiled(dict(arrays), everywhere))


@partial(jax.jit, static_argnames="everywhere")
def _compiled(arrays: dict[str, Array], everywhere: NamedSharding | None) -> dict[str, UInt32[Array, "2"]]:
    found = jax.tree.map(_traced, arrays)
    return found if everywhere is None else jax.lax.with_sharding_constraint(found, everywhere)


@jax.jit  # of its own, so that arrays of one shape and type are traced once: models have many of each
def _traced(array: Array) -> UInt32[Array, "2"]:
    words = _words_of(array)
    places = jnp.zeros((), jnp.uint32)
    for axis, size in enumerate(words.shape):
        places = places * jnp.uint32(size % 2**32) + jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis)
    return _sums(jnp, words, jnp.broadcast_to(places, words.shape))


def _words_of(array: Array) -> UInt32[Array, "..."]:
    """The bits of an array in words of 32 bit: one for each element, or two where it has 64."""
    if array.dtype == bool:
        return array.astype(jnp.uint32)
    width = {1: jnp.uint8, 2: jnp.uint16}.get(array.dtype.itemsize, jnp.uint32)
    return jax.lax.bitcast_convert_type(array, width).astype(jnp.uint32)


def _on_the_host(array: np.ndarray) -> UInt32[np.ndarray, "2"]:
    array = np.ascontiguousarray(array).reshape(-1)
    little = array.astype(array.dtype.newbyteorder("<"), copy=False) if sys.byteorder == "big" else array
    bits = little.view({1: np.uint8, 2: np.uint16}.get(array.dtype.itemsize, np.uint32))
    sums = np.zeros(len(_MULTIPLIERS), np.uint32)
    for start in range(0, len(bits), _CHUNK):
        words = bits[start : start + _CHUNK].astype(np.uint32)
        sums += _sums(np, words, np.arange(start, start + len(words)).astype(np.uint32))
    return sums


def _sums(xp: ModuleType, words: Words, places: Words) -> UInt32[Array | np.ndarray, "2"]:
    """The sums over words that are each mixed with its place."""
    places = _mixed(xp, places + xp.uint32(1))
    mixed = (_mixed(xp, (words ^ places) * xp.uint32(factor) + places) for factor in _MULTIPLIERS)
    return xp.stack([one.sum(dtype=xp.uint32) for one in mixed])


def _mixed(xp: ModuleType, x: Words) -> Words:
    """A one-to-one map of 32 bits, where each bit of `x` changes about half of them (MurmurHash3's finalizer)."""
    x = (x ^ (x >> xp.uint32(16))) * xp.uint32(0x85EBCA6B)
    x = (x ^ (x >> xp.uint32(13))) * xp.uint32(0xC2B2AE35)
    return x ^ (x >> xp.uint32(16))
