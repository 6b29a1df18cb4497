"""The pretraining stage: predict the codes of hidden patches, in two complementary views."""

import copy
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from labram_jax.config import PretrainingStageConfig, TokenizerConfig
from labram_jax.models import MaskedModel, PatchBatch, TokenizerModel
from labram_jax.models.encoder import branch_factors
from labram_jax.models.masked_model import CodeScores
from labram_jax.models.patches import empty_batch
from labram_jax.models.segments import valid_mean
from labram_jax.stages.stage import Batch, PyTree, Resumption, Stage, Statistics


def masked_losses(
    scores: CodeScores,
    mask: Bool[Array, "B L"],
    valid: Bool[Array, "B L"],
    denominators: Mapping[str, Float[Array, ""]],
) -> dict[str, Float[Array, ""]]:
    """Mean cross-entropy and accuracy of each view over the patches that it hid (equation 13).

    `denominators`: how many patches each view hid in the whole batch.
    """
    correct = scores.correct.astype(scores.cross_entropy.dtype)
    hidden, complement = mask & valid, ~mask & valid
    return {
        "cross_entropy": valid_mean(scores.cross_entropy, hidden, denominators["hidden"]),
        "cross_entropy_complement": valid_mean(scores.cross_entropy, complement, denominators["complement"]),
        "accuracy": valid_mean(correct, hidden, denominators["hidden"]),
        "accuracy_complement": valid_mean(correct, complement, denominators["complement"]),
    }


class PretrainingStage(Stage):
    """Trains the masked model against a frozen tokenizer, whose variables are constants of the step.

    Where batches bring codes that were kept beside the corpora, the tokenizer does not run: see `without_tokenizer`.
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

    def without_tokenizer(self) -> "PretrainingStage":
        """The same stage for batches that bring their codes: it holds no tokenizer in memory."""
        return PretrainingStage(self.config, self.tokenizer.config, {}, self.params, self._resumption)

    def selecting_by(self, metric: str, better: Literal["max", "min"]) -> "PretrainingStage":
        """The same stage, whose best checkpoint is that with the best value of another metric."""
        stage = copy.copy(self)
        stage.selection = (metric, better)
        return stage

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch().replace(mask=jnp.ones((1, 1), bool)), jnp.zeros((1, 1), jnp.int32))

    def initial(self) -> Mapping[str, PyTree]:
        return {} if self.params is None else {"params": self.params}

    def resumption(self) -> Resumption | None:
        return self._resumption

    def denominators(self, batch: Batch) -> dict[str, Float[Array, ""]]:
        valid = batch["segment_ids"] > 0
        return {"hidden": (batch["mask"] & valid).sum(), "complement": (~batch["mask"] & valid).sum()}

    def loss(
        self,
        params: PyTree,
        collections: dict[str, PyTree],
        frozen: PyTree,
        batch: Batch,
        keys: Key[Array, " B"],
        denominators: Mapping[str, Float[Array, ""]],
        step: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Statistics]:
        """Sum of the cross-entropies of both views."""
        stream = self.stream(batch)
        factors = branch_factors(self.config.model.encoder, keys, stream.segments, views=2)
        scores = self.model.apply({"params": params}, stream, self.label(frozen, stream), factors)
        losses = masked_losses(scores, stream.mask, stream.valid, denominators)
        loss = losses["cross_entropy"] + losses["cross_entropy_complement"]
        return loss, Statistics({"loss": loss, **losses, "patches": stream.valid.sum()})

    def label(self, tokenizer_variables: PyTree, stream: PatchBatch) -> Int[Array, "B L"]:
        """Codes of all patches: those that the batch brings, else by the frozen tokenizer."""
        if stream.codes is not None:
            return stream.codes
        codes = self.tokenizer.apply(tokenizer_variables, stream, method=TokenizerModel.encode)
        return jax.lax.stop_gradient(codes)

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """Sums over patches of the cross-entropy and of right guesses, and how many patches; each is hidden once."""
        stream = self.stream(batch)
        codes = self.label(frozen, stream)
        scores = self.model.apply(variables, stream, codes)
        cross_entropy, correct = (jnp.sum(x, where=stream.valid) for x in (scores.cross_entropy, scores.correct))
        return Statistics(sums={"cross_entropy": cross_entropy, "correct": correct, "patches": stream.valid.sum()})

    def summarise(self, statistics: Statistics) -> dict[str, float]:
        """Mean cross-entropy and accuracy over all hidden patches of the split."""
        sums = statistics.sums
        mean = float(sums["cross_entropy"] / sums["patches"])
        return {"loss": 2 * mean, "cross_entropy": mean, "accuracy": float(sums["correct"] / sums["patches"])}
