"""The neural tokenizer (VQ-NSP): patches to codes, codes to the Fourier amplitude and phase of the patches."""

import flax.linen as nn
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from labram_jax.config import FREQUENCY_BINS, PATCH_SAMPLES, ComputeConfig, TokenizerConfig
from labram_jax.models.encoder import Encoder
from labram_jax.models.layers import Linear, layer_norm, normal_initializer
from labram_jax.models.patches import PatchBatch
from labram_jax.models.quantizer import Quantized, Quantizer, straight_through

FULL_PRECISION = ComputeConfig()


class Head(nn.Module):
    """Linear - tanh - Linear, with products in the type of its `compute`."""

    width: int
    outputs: int
    compute: ComputeConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L O"]:
        weights = normal_initializer("tokenizer")
        x = Linear((self.width, self.width), ("width", None), self.compute, weights, name="hidden")(x)
        return Linear((self.width, self.outputs), (None, None), self.compute, weights, name="out")(nn.tanh(x))


@struct.dataclass
class TokenizerOutput:
    """Predictions of the standardised targets, that of the log amplitude where the model has it; `quantized`: see
    there, N = B * L."""

    amplitude: Float[Array, "B L T"]
    phase: Float[Array, "B L T"]
    quantized: Quantized
    log_amplitude: Float[Array, "B L F"] | None = None


class TokenizerModel(nn.Module):
    """Encoder, quantizer and decoder. The latent head stays float32 whatever the compute type, as in the reference."""

    config: TokenizerConfig
    compute: ComputeConfig = ComputeConfig()

    def setup(self):
        config, compute = self.config, self.compute
        latent_compute = compute if compute.dtype == "float64" else FULL_PRECISION
        dimension = config.quantizer.dimension
        self.encoder = Encoder(config.encoder, compute)
        self.encoder_norm = layer_norm(compute)
        self.latent_head = Head(config.encoder.width, dimension, latent_compute)
        self.quantizer = Quantizer(config.quantizer, compute)
        self.decoder = Encoder(config.decoder, compute, code_dimension=dimension)
        self.decoder_norm = layer_norm(compute)
        self.amplitude_head = Head(config.decoder.width, PATCH_SAMPLES, compute)
        self.phase_head = Head(config.decoder.width, PATCH_SAMPLES, compute)
        if config.log_amplitude:
            self.log_amplitude_head = Head(config.decoder.width, FREQUENCY_BINS, compute)

    def latents(self, batch: PatchBatch) -> Float[Array, "B L d"]:
        """Latents before they are put on the unit sphere."""
        _, tokens = self.encoder(batch)
        return self.latent_head(self.encoder_norm(tokens))

    def quantize(self, batch: PatchBatch) -> Quantized:
        latents = self.latents(batch)
        weights = batch.valid.reshape(-1).astype(latents.dtype)
        return self.quantizer(latents.reshape(-1, latents.shape[-1]), weights)

    def move_codebook(self, counts: Float[Array, " K"], sums: Float[Array, "K d"]) -> None:
        """Moves the collection `codebook`, which must be mutable, by the statistics of a step's latents."""
        self.quantizer.move(counts, sums)

    def encode(self, batch: PatchBatch) -> Int[Array, "B L"]:
        """The code of every patch; meaningless in padding."""
        return self.quantize(batch).codes.reshape(batch.segment_ids.shape)

    def decode(self, codes: Float[Array, "B L d"], batch: PatchBatch) -> tuple[Array, Array, Array | None]:
        """Amplitude and phase [B, L, T], and log amplitude [B, L, F] or None, from code vectors, standardised like the
        targets."""
        _, tokens = self.decoder.transform(self.decoder.project_codes(codes), batch)
        tokens = self.decoder_norm(tokens)
        logarithm = self.log_amplitude_head(tokens) if self.config.log_amplitude else None
        return self.amplitude_head(tokens), self.phase_head(tokens), logarithm

    def __call__(
        self,
        batch: PatchBatch,
        bypass: Bool[Array, ""] | bool = False,
        noise: Float[Array, "B L d"] | None = None,
    ) -> TokenizerOutput:
        """Both predictions. Where `bypass` holds, the decoder gets the unit latents themselves, plus `noise`."""
        quantized = self.quantize(batch)
        through = straight_through(quantized.latents, quantized.vectors)
        if bypass is not False:
            itself = quantized.latents
            if noise is not None:
                itself = itself + noise.reshape(itself.shape).astype(itself.dtype)
            through = jnp.where(bypass, itself, through)
        amplitude, phase, logarithm = self.decode(through.reshape(*batch.segment_ids.shape, -1), batch)
        return TokenizerOutput(amplitude, phase, quantized, logarithm)
