"""Reductions over the segments of a row: what the reference computes per sample is computed per segment here."""

import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Bool, Float


def segment_sum(x: Float[Array, "B L ..."], membership: Float[Array, "B L S"]) -> Float[Array, "B S ..."]:
    """Sums over the patches of each segment; padding belongs to none."""
    return jnp.einsum("bls,bl...->bs...", membership, x, precision=Precision.HIGHEST)


def spread(values: Float[Array, "B S ..."], membership: Float[Array, "B L S"]) -> Float[Array, "B L ..."]:
    """Gives every patch the value of its segment, and padding 0."""
    return jnp.einsum("bls,bs...->bl...", membership, values, precision=Precision.HIGHEST)


def patch_counts(membership: Float[Array, "B L S"]) -> Float[Array, "B S"]:
    """Patches of each segment, at least 1, so that it can divide."""
    return jnp.maximum(membership.sum(axis=1), 1)


def segment_mean(x: Float[Array, "B L ..."], membership: Float[Array, "B L S"]) -> Float[Array, "B S ..."]:
    """Mean over the patches of each segment; 0 for an empty one."""
    counts = patch_counts(membership)
    return segment_sum(x, membership) / counts.reshape(*counts.shape, *(1,) * (x.ndim - 2))


def valid_mean(
    x: Float[Array, "B L ..."], valid: Bool[Array, "B L"], patches: Float[Array, ""] | None = None
) -> Float[Array, ""]:
    """Mean over all elements of the patches that count; 0 where none does.

    `patches`: how many count in the whole batch, if this is a part of it: the parts' values then add up to the mean.
    """
    patches = valid.sum() if patches is None else patches
    weight = valid.reshape(*valid.shape, *(1,) * (x.ndim - 2))
    return jnp.where(weight, x, 0).sum() / (jnp.maximum(patches, 1).astype(x.dtype) * x[0, 0].size)
