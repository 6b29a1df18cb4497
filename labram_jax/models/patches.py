"""The patch stream: a batch in which every patch carries its own address; the only place that divides by 100."""

from collections.abc import Mapping

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Float32, Int

from labram_jax.config import MICROVOLTS_PER_UNIT


@struct.dataclass
class PatchBatch:
    """Rows of patch slots that hold one or more segments (windows), plus padding.

    `patches` are microvolts / 100; `electrode_ids` are rows of the electrode embedding, `time_ids` of the time
    embedding; `segment_ids` run from 1 to `segments`, 0 is padding. The slots of a segment are contiguous, and
    the first one holds its first electrode; where `segments` is 1, padding comes last. The rest is there only where
    a stage needs it: `mask` (True = hidden), `codes` that a tokenizer gave beforehand, `labels` of each segment (-1
    or NaN where there is none), `window_ids` and `corpus_ids` (-1: none).
    A dense window is the special case of one segment without padding.
    """

    patches: Float[Array, "B L T"]
    electrode_ids: Int[Array, "B L"]
    time_ids: Int[Array, "B L"]
    segment_ids: Int[Array, "B L"]
    mask: Bool[Array, "B L"] | None = None
    codes: Int[Array, "B L"] | None = None
    labels: Array | None = None
    window_ids: Int[Array, "B S"] | None = None
    corpus_ids: Int[Array, "B S"] | None = None
    segments: int = struct.field(pytree_node=False, default=1)

    @classmethod
    def of(cls, batch: Mapping[str, Array], segments: int, dtype: str = "float32") -> "PatchBatch":
        """From arrays as `labram_jax.data.pipeline` reads them; `dtype` float64 widens the patches, others do not."""
        arrays = dict(batch)
        patches = model_units(arrays.pop("microvolts")).astype(jnp.promote_types(dtype, jnp.float32))
        return cls(patches=patches, **arrays, segments=segments)

    @property
    def valid(self) -> Bool[Array, "B L"]:
        """True where a slot holds a patch."""
        return self.segment_ids > 0

    @property
    def membership(self) -> Float[Array, "B L S"]:
        """1 where a slot belongs to a segment: reductions over segments are products with it."""
        slots = jnp.arange(1, self.segments + 1, dtype=self.segment_ids.dtype)
        return (self.segment_ids[..., None] == slots).astype(jnp.promote_types(self.patches.dtype, jnp.float32))


def model_units(microvolts: Float[Array, "..."]) -> Float32[Array, "..."]:
    """Signal in units of 100 microvolts, rounded as float32 division rounds."""
    wide = microvolts.astype(jnp.float32)
    # By one number for all, XLA would multiply by its rounded inverse, which differs in the last bit.
    return wide / jnp.where(jnp.isnan(wide), jnp.nan, jnp.float32(MICROVOLTS_PER_UNIT))


def dense_batch(patches: Float[Array, "B L T"], electrode_ids: Int[Array, " C"], **extra) -> PatchBatch:
    """Windows of one montage, channel-major (slot = electrode * A + second), one to a row, without padding."""
    rows, slots, _ = patches.shape
    electrodes = len(electrode_ids)
    if slots % electrodes:
        raise ValueError(f"{slots} patch slots are not a multiple of {electrodes} electrodes")
    seconds = slots // electrodes
    shape = (rows, slots)
    return PatchBatch(
        patches=patches,
        electrode_ids=jnp.broadcast_to(jnp.repeat(jnp.asarray(electrode_ids, jnp.int32), seconds), shape),
        time_ids=jnp.broadcast_to(jnp.tile(jnp.arange(seconds, dtype=jnp.int32), electrodes), shape),
        segment_ids=jnp.ones(shape, jnp.int32),
        **extra,
    )


def empty_batch() -> PatchBatch:
    """One row of one patch: enough to learn the shapes of a model's variables, which no batch's shape changes."""
    zeros = jnp.zeros((1, 1), jnp.int32)
    return PatchBatch(jnp.zeros((1, 1, 200), jnp.float32), zeros, zeros, zeros + 1)
