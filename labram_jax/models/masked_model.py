"""The pretraining model: predict the codes of hidden patches, in two complementary views of every row."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from labram_jax.config import ComputeConfig, MaskedModelConfig
from labram_jax.models.code_head import CodeHead, CodeScores
from labram_jax.models.encoder import Encoder
from labram_jax.models.layers import layer_norm, normal_initializer, parameter_dtype
from labram_jax.models.patches import PatchBatch


def two_views(x: Array, y: Array) -> Array:
    """[B, ...] twice to [2 B, ...] with the views of a row side by side, so that rows stay on their device."""
    return jnp.stack([x, y], axis=1).reshape(2 * x.shape[0], *x.shape[1:])


class MaskedModel(nn.Module):
    """Encoder with a mask token, final norm and a projection onto the codes.

    `hidden` runs both views as one batch and keeps for every patch the view that hid it, so that each patch is
    projected onto the codes exactly once.
    """

    config: MaskedModelConfig
    compute: ComputeConfig = ComputeConfig()

    def setup(self):
        config, compute = self.config, self.compute
        width, initialisation = config.encoder.width, config.encoder.initialisation
        initial = normal_initializer(initialisation)
        self.encoder = Encoder(config.encoder, compute)
        vector = nn.with_logical_partitioning(initial, ("width",))
        self.mask_token = self.param("mask_token", vector, (width,), parameter_dtype(compute))
        self.norm = layer_norm(compute)
        self.code_head = CodeHead(config, compute)

    def features(
        self, batch: PatchBatch, mask: Bool[Array, "B L"] | None = None
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        """Normed class tokens and patch tokens of one view; `mask` hides patches."""
        classes, tokens = self.tokens(batch, mask)
        return self.norm(classes), self.norm(tokens)

    def tokens(
        self, batch: PatchBatch, mask: Bool[Array, "B L"] | None = None
    ) -> tuple[Float[Array, "B S D"], Float[Array, "B L D"]]:
        """Class tokens and patch tokens after the last block, without the norm."""
        embeddings = self.encoder.embed(batch)
        if mask is not None:
            embeddings = jnp.where(mask[..., None], self.mask_token, embeddings)
        return self.encoder.transform(embeddings, batch)

    def hidden(
        self, batch: PatchBatch, branch_factors: Float[Array, "depth 2 B2 S"] | None = None
    ) -> Float[Array, "B L D"]:
        """The normed token of every patch from the view that hid it: the mask's, or its complement's."""
        embeddings = self.encoder.embed(batch)
        hide = batch.mask[..., None]
        views = two_views(jnp.where(hide, self.mask_token, embeddings), jnp.where(hide, embeddings, self.mask_token))
        doubled = jax.tree.map(lambda a: two_views(a, a), batch)
        _, tokens = self.encoder.transform(views, doubled, branch_factors)
        tokens = tokens.reshape(-1, 2, *tokens.shape[1:])
        return self.norm(jnp.where(hide, tokens[:, 0], tokens[:, 1]))

    def logits(self, features: Float[Array, "B L D"]) -> Float[Array, "B L K"]:
        return self.code_head(features)

    def __call__(
        self,
        batch: PatchBatch,
        codes: Int[Array, "B L"],
        branch_factors: Float[Array, "depth 2 B2 S"] | None = None,
    ) -> CodeScores:
        """Scores of the codes that the tokenizer gave (equation 13, and its complement)."""
        return self.code_head.scores(self.hidden(batch, branch_factors), codes)
