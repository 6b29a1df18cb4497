"""The fine-tuned model: encoder, a readout of every segment, and linear heads."""

import flax.linen as nn
import numpy as np
from jaxtyping import Array, Float

from labram_jax.config import ClassifierConfig, ComputeConfig
from labram_jax.models.encoder import Encoder
from labram_jax.models.layers import Linear, layer_norm, normal_initializer, parameter_dtype, scaled
from labram_jax.models.patches import PatchBatch
from labram_jax.models.readout import (
    USUAL_ELECTRODES,
    ElectrodeHead,
    Readout,
    attention_mean,
    electrode_means,
    log_amplitude,
)
from labram_jax.models.segments import segment_mean


def in_target_units(config: ClassifierConfig, outputs: Float[Array, "... outputs"]) -> Float[Array, "... outputs"]:
    """What the heads of a regressor with standardised targets give, in the targets' own units."""
    if not config.target_scale:
        return outputs
    return outputs * np.asarray(config.target_scale, outputs.dtype) + np.asarray(config.target_mean, outputs.dtype)


class ClassifierModel(nn.Module):
    """Logits of every segment. Means are taken first and then the norm, as the reference does."""

    config: ClassifierConfig
    compute: ComputeConfig = ComputeConfig()

    def setup(self):
        config, compute = self.config, self.compute
        encoder, outputs = config.encoder, config.outputs
        weights = scaled(normal_initializer(encoder.initialisation), config.head_scale)
        self.encoder = Encoder(encoder, compute)
        self.norm = layer_norm(compute)
        if config.pooling == "electrodes":
            self.head = ElectrodeHead(encoder.width, outputs, compute, weights, USUAL_ELECTRODES, "width")
        else:
            self.head = Linear((encoder.width, outputs), ("width", None), compute, weights)
        if config.pooling == "attention":
            shape = (encoder.heads, encoder.width // encoder.heads)
            self.query = self.param("query", nn.initializers.zeros, shape, parameter_dtype(compute))
        if config.amplitude:
            self.amplitude_head = ElectrodeHead(1, outputs, compute, weights, use_bias=False)
        if config.filters:
            self.filter_head = ElectrodeHead(encoder.filters, outputs, compute, weights, use_bias=False)

    def readout(self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None) -> Readout:
        """What the heads see."""
        amplitude = filters = present = None
        if self.config.filters:
            embeddings, filters = self.encoder.embed_with_filters(batch)
            filters, present = electrode_means(filters, batch)
        else:
            embeddings = self.encoder.embed(batch)
        classes, tokens = self.encoder.transform(embeddings, batch, branch_factors)
        if self.config.pooling == "electrodes":
            means, present = electrode_means(tokens, batch)
            pooled = self.norm(means) * present[..., None]
        elif self.config.pooling == "attention":
            pooled = self.norm(attention_mean(tokens, self.norm(tokens), self.query, batch))
        else:
            pooled = self.norm(
                classes if self.config.pooling == "class_token" else segment_mean(tokens, batch.membership)
            )
        if self.config.amplitude:
            means, present = electrode_means(log_amplitude(batch.patches)[..., None], batch)
            amplitude = means[..., 0]
        return Readout(pooled, amplitude, filters, present)

    def pooled(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None
    ) -> Float[Array, "B S D"] | Float[Array, "B S R D"]:
        """The feature of every segment, or of each of its electrodes, that the head sees."""
        return self.readout(batch, branch_factors).pooled

    def tokens(self, batch: PatchBatch) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        """Class tokens and patch tokens after the last block, without the norm."""
        return self.encoder(batch)

    def __call__(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None
    ) -> Float[Array, "B S outputs"]:
        return self.heads(self.readout(batch, branch_factors))

    def heads(self, seen: Readout) -> Float[Array, "B S outputs"]:
        """The logits of what was read out."""
        own = (seen.pooled, seen.present) if self.config.pooling == "electrodes" else (seen.pooled,)
        logits = self.head(*own)
        if self.config.amplitude:
            logits = logits + self.amplitude_head(seen.amplitude[..., None], seen.present)
        if self.config.filters:
            logits = logits + self.filter_head(seen.filters, seen.present)
        return in_target_units(self.config, logits)
