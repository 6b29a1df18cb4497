"""The patch embedder: three convolutions along the 200 samples of a patch, with norms per segment."""

from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision
from jaxtyping import Array, Float

from labram_jax.config import CONVOLUTION_GROUPS, PATCH_SAMPLES, TIME_STEPS, ComputeConfig, EncoderConfig
from labram_jax.models.layers import gelu, normal_initializer, parameter_dtype, product, uniform_initializer
from labram_jax.models.readout import log_amplitude
from labram_jax.models.segments import patch_counts, segment_sum, spread


def band_matrix(kernel: Float[Array, "k i o"], steps_in: int, stride: int, padding: int) -> Float[Array, "I O"]:
    """The matrix that convolves: input feature (step, channel) to output feature (step, channel), both time-major.

    One product of [L, I] with it is faster on every backend than a strided convolution with few channels, and the
    zeros outside the band change no sum.
    """
    width, channels_in, channels_out = kernel.shape
    steps_out = (steps_in + 2 * padding - width) // stride + 1
    tap = np.arange(steps_in)[:, None] - stride * np.arange(steps_out)[None, :] + padding
    inside = (tap >= 0) & (tap < width)
    taps = jnp.where(inside[..., None, None], kernel[np.clip(tap, 0, width - 1)], 0)
    return taps.transpose(0, 2, 1, 3).reshape(steps_in * channels_in, steps_out * channels_out)


class Convolution(nn.Module):
    """A 1-D convolution along time as a product with its band matrix; kernel [taps, in, out] and bias."""

    taps: int
    channels_in: int
    channels: int
    steps_in: int
    stride: int
    compute: ComputeConfig
    initialisation: str

    @nn.compact
    def __call__(self, x: Float[Array, "B L I"]) -> Float[Array, "B L O"]:
        if self.initialisation == "pretraining":
            kernel_init, bias_init = normal_initializer("pretraining"), nn.initializers.zeros
        else:
            kernel_init = bias_init = uniform_initializer(self.taps * self.channels_in)
        stored = parameter_dtype(self.compute)
        shape = (self.taps, self.channels_in, self.channels)
        kernel = self.param("kernel", nn.with_logical_partitioning(kernel_init, (None, None, None)), shape, stored)
        bias = self.param("bias", nn.with_logical_partitioning(bias_init, (None,)), (self.channels,), stored)
        y = product(x, band_matrix(kernel, self.steps_in, self.stride, self.taps // 2), self.compute)
        return y + jnp.tile(bias, y.shape[-1] // self.channels)


class SegmentGroupNorm(nn.Module):
    """GroupNorm with 4 groups, epsilon 1e-5, whose statistics span all patches of a segment (biased variance)."""

    channels: int
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], membership: Float[Array, "B L S"]) -> Float[Array, "B L D"]:
        stored = parameter_dtype(self.compute)
        # Sums over the features of a group are a product with its indicator: splitting the features' axis into
        # [steps, groups, channels] would leave innermost axes of 2, which no backend reduces well.
        feature_group = np.arange(x.shape[-1]) % self.channels // (self.channels // CONVOLUTION_GROUPS)
        indicator = jnp.asarray(np.eye(CONVOLUTION_GROUPS)[feature_group], stored)
        elements = (patch_counts(membership) * (x.shape[-1] // CONVOLUTION_GROUPS))[..., None]

        def group_mean(values: Float[Array, "B L D"]) -> Float[Array, "B S G"]:
            sums = jnp.einsum("bld,dg->blg", values, indicator, precision=Precision.HIGHEST)
            return segment_sum(sums, membership) / elements

        def to_features(values: Float[Array, "B S G"]) -> Float[Array, "B L D"]:
            return jnp.einsum("blg,dg->bld", spread(values, membership), indicator, precision=Precision.HIGHEST)

        centred = x - to_features(group_mean(x))
        normed = centred * to_features(jax.lax.rsqrt(group_mean(centred**2) + 1e-5))
        ones = nn.with_logical_partitioning(nn.initializers.ones, (None,))
        zeros = nn.with_logical_partitioning(nn.initializers.zeros, (None,))
        scale = self.param("scale", ones, (self.channels,), stored)
        bias = self.param("bias", zeros, (self.channels,), stored)
        return normed * jnp.tile(scale, TIME_STEPS) + jnp.tile(bias, TIME_STEPS)


class TemporalConvolution(nn.Module):
    """Patches to embeddings: conv(15, stride 8), conv(3), conv(3), each with group norm and exact GELU (section 2.1).

    The output is flattened time-major: feature = step * channels + channel, so that D = 25 * channels.
    """

    config: EncoderConfig
    compute: ComputeConfig

    def setup(self):
        channels, compute = self.config.temporal_channels, self.compute
        shared = {"compute": compute, "initialisation": self.config.initialisation}
        self.convolution_1 = Convolution(15, 1, channels, PATCH_SAMPLES, 8, **shared)
        self.convolution_2 = Convolution(3, channels, channels, TIME_STEPS, 1, **shared)
        self.convolution_3 = Convolution(3, channels, channels, TIME_STEPS, 1, **shared)
        self.norm_1, self.norm_2, self.norm_3 = (SegmentGroupNorm(channels, compute) for _ in range(3))

    def filtered(
        self, patches: Float[Array, "B L T"], membership: Float[Array, "B L S"]
    ) -> Iterator[tuple[Float[Array, "B L D"], Float[Array, "B L D"]]]:
        """What each convolution gives, before and after its norm and GELU."""
        x = patches
        for convolution, norm in (
            (self.convolution_1, self.norm_1),
            (self.convolution_2, self.norm_2),
            (self.convolution_3, self.norm_3),
        ):
            filtered = convolution(x)
            x = gelu(norm(filtered, membership))
            yield filtered, x

    def __call__(self, patches: Float[Array, "B L T"], membership: Float[Array, "B L S"]) -> Float[Array, "B L D"]:
        *_, (_, x) = self.filtered(patches, membership)
        return x

    def with_amplitudes(
        self, patches: Float[Array, "B L T"], membership: Float[Array, "B L S"]
    ) -> tuple[Float[Array, "B L D"], Float[Array, "B L F"]]:
        """Embeddings, and the log amplitude of what each filter of each convolution gives before its norm."""
        layers = list(self.filtered(patches, membership))
        found = [
            log_amplitude(filtered.reshape(*filtered.shape[:2], TIME_STEPS, -1).swapaxes(2, 3))
            for filtered, _ in layers
        ]
        return layers[-1][1], jnp.concatenate(found, axis=-1)
