"""Readouts: how the tokens of a segment become what a head sees, and the amplitude that norms take out of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.lax import Precision
from jaxtyping import Array, Float, Int

from labram_jax.config import ELECTRODE_ROWS, MICROVOLTS_PER_UNIT, ComputeConfig
from labram_jax.models.layers import Initializer, parameter_dtype, product
from labram_jax.models.patches import PatchBatch
from labram_jax.models.segments import segment_sum, spread

# Amplitudes are told relative to that of usual EEG, so that they lie around 0; the floor keeps flat patches finite.
USUAL_MICROVOLTS, FLOOR_MICROVOLTS = 10.0, 0.01
# By so much the sum over electrodes is divided, as many as are usual: a mean over patches moves as fast with its head.
USUAL_ELECTRODES = 32


@struct.dataclass
class Readout:
    """What the heads of a classifier see of every segment; absent electrodes are zeros.

    `pooled` is one normed feature a segment, or one an electrode. `amplitude` and `filters` (means over an electrode's
    patches of their log amplitudes: of the patch, of what each filter of the temporal convolution gives of it) and
    `present` (1 where the segment has the electrode) are there where they are needed.
    """

    pooled: Float[Array, "B S D"] | Float[Array, "B S R D"]
    amplitude: Float[Array, "B S R"] | None = None
    filters: Float[Array, "B S R F"] | None = None
    present: Float[Array, "B S R"] | None = None

    def of_electrodes(self, rows: Int[np.ndarray, " E"], by_electrode: bool) -> dict[str, Array]:
        """What is there, by its name, of the electrodes in some rows of the vocabulary (`pooled` if it has them)."""
        beside = {"amplitude": self.amplitude, "filters": self.filters, "present": self.present}
        found = {name: values[:, :, rows] for name, values in beside.items() if values is not None}
        return {"pooled": self.pooled[:, :, rows] if by_electrode else self.pooled, **found}


def log_amplitude(patches: Float[Array, "*L T"]) -> Float[Array, "*L"]:
    """Natural logarithm of the standard deviation of each patch (in microvolts / 100) over 10 microvolts."""
    power = jnp.var(patches, axis=-1)
    floor, usual = ((value / MICROVOLTS_PER_UNIT) ** 2 for value in (FLOOR_MICROVOLTS, USUAL_MICROVOLTS))
    return 0.5 * jnp.log((power + floor) / usual)


def electrode_means(
    x: Float[Array, "B L F"], batch: PatchBatch
) -> tuple[Float[Array, "B S R F"], Float[Array, "B S R"]]:
    """Means over the patches of each electrode of each segment, 0 for absent ones; and 1 for each that is present."""
    rows = jax.nn.one_hot(batch.electrode_ids, ELECTRODE_ROWS, dtype=batch.membership.dtype)
    places = batch.membership[..., :, None] * rows[..., None, :]
    counts = places.sum(axis=1)
    sums = jnp.einsum("blsr,blf->bsrf", places, x, precision=Precision.HIGHEST)
    return sums / jnp.maximum(counts, 1)[..., None], jnp.minimum(counts, 1)


def attention_mean(
    tokens: Float[Array, "B L D"], normed: Float[Array, "B L D"], query: Float[Array, "H K"], batch: PatchBatch
) -> Float[Array, "B S D"]:
    """Means over the patches of each segment, weighted in each head's features by the softmax of normed . query.

    A query of zeros gives the plain mean.
    """
    heads, width = query.shape
    split = (*tokens.shape[:2], heads, width)
    scores = jnp.einsum("blhk,hk->blh", normed.reshape(split), query, precision=Precision.HIGHEST) * width**-0.5
    member = batch.membership[..., None] > 0
    largest = jnp.max(jnp.where(member, scores[..., None, :], -jnp.inf), axis=1)
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
    # Padding has no segment, and its scores may be anything: they must not overflow before they are left out.
    safe = jnp.where(batch.valid[..., None], scores - spread(largest, batch.membership), 0)
    weights = jnp.exp(safe)
    sums = segment_sum(weights[..., None] * tokens.reshape(split), batch.membership)
    totals = segment_sum(weights, batch.membership)
    means = sums / jnp.where(totals > 0, totals, 1)[..., None]
    return means.reshape(*means.shape[:2], -1)


class ElectrodeHead(nn.Module):
    """A linear map of its own for each electrode of the vocabulary, summed over those that a segment has.

    An absent electrode, whose features are zeros, adds nothing, nor does its offset. Kernel [R, F, outputs], offset
    [R, outputs], and a bias [outputs] if it is asked for. The sum is divided by `divisor`. `axis` names the features.
    """

    features: int
    outputs: int
    compute: ComputeConfig
    kernel_init: Initializer
    divisor: int = 1
    axis: str | None = None
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B S R F"], present: Float[Array, "B S R"]) -> Float[Array, "B S outputs"]:
        stored, zeros = parameter_dtype(self.compute), nn.initializers.zeros
        initial = nn.with_logical_partitioning(self.kernel_init, (None, self.axis, None))
        kernel = self.param("kernel", initial, (ELECTRODE_ROWS, self.features, self.outputs), stored)
        offset = self.param("offset", zeros, (ELECTRODE_ROWS, self.outputs), stored)
        y = product(x, kernel, self.compute, contract=2)
        y = (y + jnp.einsum("bsr,ro->bso", present, offset, precision=Precision.HIGHEST)) / self.divisor
        return y + self.param("bias", zeros, (self.outputs,), stored) if self.use_bias else y
