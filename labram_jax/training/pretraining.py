"""The pretraining stage: predict the codes of hidden patches, in two complementary views."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from labram_jax.config import PretrainingStageConfig, TokenizerConfig
from labram_jax.models import MaskedModel, PatchBatch, TokenizerModel
from labram_jax.models.encoder import drop_path_factors
from labram_jax.models.masked_model import CodeScores
from labram_jax.models.segments import valid_mean
from labram_jax.training.sharding import to_host
from labram_jax.training.stage import Batch, PyTree, Resumption, Stage
from labram_jax.training.state import TrainState
from labram_jax.training.tokenizer import empty_batch


def masked_losses(
    scores: CodeScores, mask: Bool[Array, "B L"], valid: Bool[Array, "B L"]
) -> dict[str, Float[Array, ""]]:
    """Mean cross-entropy and accuracy of each view over the patches that it hid (equation 13)."""
    hidden, complement = mask & valid, ~mask & valid
    correct = scores.correct.astype(scores.cross_entropy.dtype)
    return {
        "cross_entropy": valid_mean(scores.cross_entropy, hidden),
        "cross_entropy_complement": valid_mean(scores.cross_entropy, complement),
        "accuracy": valid_mean(correct, hidden),
        "accuracy_complement": valid_mean(correct, complement),
    }


class PretrainingStage(Stage):
    """Trains the masked model against a frozen tokenizer, whose variables are constants of the step.

    `params` are those of a pretrained model to go on from, `resumption` the state of its optimizer.
    """

    name = "pretraining"
    selection = ("loss", "min")

    def __init__(
        self,
        config: PretrainingStageConfig,
        tokenizer: TokenizerConfig,
        tokenizer_variables: PyTree,
        params: PyTree | None = None,
        resumption: Resumption | None = None,
    ):
        self.config = config
        self.model = MaskedModel(config.model, config.compute)
        self.tokenizer = TokenizerModel(tokenizer, config.compute)
        self.encoder_depth = config.model.encoder.depth
        self.frozen = tokenizer_variables
        self.params, self._resumption = params, resumption
        self._evaluate = jax.jit(self._evaluate_batch)

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch().replace(mask=jnp.ones((1, 1), bool)), jnp.zeros((1, 1), jnp.int32))

    def initial(self) -> Mapping[str, PyTree]:
        return {} if self.params is None else {"params": self.params}

    def resumption(self) -> Resumption | None:
        return self._resumption

    def loss(
        self,
        params: PyTree,
        collections: dict[str, PyTree],
        frozen: PyTree,
        batch: Batch,
        key: jax.Array,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], dict[str, Float[Array, ""]]]]:
        """Sum of the cross-entropies of both views."""
        stream = PatchBatch(**batch, segments=self.config.data.segments)
        factors = self._branch_factors(key, stream)
        scores = self.model.apply({"params": params}, stream, self.label(frozen, stream), factors)
        losses = masked_losses(scores, stream.mask, stream.valid)
        loss = losses["cross_entropy"] + losses["cross_entropy_complement"]
        return loss, (collections, {"loss": loss, **losses, "patches": stream.valid.sum()})

    def label(self, tokenizer_variables: PyTree, stream: PatchBatch) -> Int[Array, "B L"]:
        """Codes of all patches by the frozen tokenizer."""
        codes = self.tokenizer.apply(tokenizer_variables, stream, method=TokenizerModel.encode)
        return jax.lax.stop_gradient(codes)

    def evaluate(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean cross-entropy and accuracy over all hidden patches of the split, each patch hidden once."""
        total = np.zeros(3)
        for batch in batches:
            total += to_host(self._evaluate(state.params, state.frozen, batch))
        cross_entropy, correct, patches = total
        mean = float(cross_entropy / patches)
        return {"loss": 2 * mean, "cross_entropy": mean, "accuracy": float(correct / patches)}

    def _evaluate_batch(self, params: PyTree, frozen: PyTree, batch: Batch) -> Float[Array, "3"]:
        stream = PatchBatch(**batch, segments=self.config.data.segments)
        scores = self.model.apply({"params": params}, stream, self.label(frozen, stream))
        count = stream.valid
        return jnp.stack([jnp.sum(x, where=count) for x in (scores.cross_entropy, scores.correct, count)])

    def _branch_factors(self, key: jax.Array, stream: PatchBatch) -> Float[Array, "depth 2 B2 S"] | None:
        rate = self.config.model.encoder.drop_path
        if rate == 0:
            return None
        shape = (self.encoder_depth, 2, 2 * stream.patches.shape[0], stream.segments)
        return drop_path_factors(jax.random.uniform(key, shape), rate)
