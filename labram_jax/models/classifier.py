"""The fine-tuned model: encoder, pooling per segment, and a linear head."""

import flax.linen as nn
from jaxtyping import Array, Float

from labram_jax.config import ClassifierConfig, ComputeConfig
from labram_jax.models.encoder import Encoder
from labram_jax.models.layers import Linear, layer_norm, normal_initializer, scaled
from labram_jax.models.patches import PatchBatch
from labram_jax.models.segments import segment_mean


class ClassifierModel(nn.Module):
    """Logits of every segment. Mean pooling takes the mean first and then the norm, as the reference does."""

    config: ClassifierConfig
    compute: ComputeConfig = ComputeConfig()

    def setup(self):
        config, compute = self.config, self.compute
        width = config.encoder.width
        weights = scaled(normal_initializer(config.encoder.initialisation), config.head_scale)
        self.encoder = Encoder(config.encoder, compute)
        self.norm = layer_norm(compute)
        self.head = Linear((width, config.outputs), ("width", None), compute, weights)

    def pooled(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None
    ) -> Float[Array, "B S D"]:
        """The feature of every segment that the head sees."""
        classes, tokens = self.encoder(batch, branch_factors)
        return self.norm(classes if self.config.pooling == "class_token" else segment_mean(tokens, batch.membership))

    def tokens(self, batch: PatchBatch) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        """Class tokens and patch tokens after the last block, without the norm."""
        return self.encoder(batch)

    def __call__(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B S"] | None = None
    ) -> Float[Array, "B S outputs"]:
        return self.head(self.pooled(batch, branch_factors))
