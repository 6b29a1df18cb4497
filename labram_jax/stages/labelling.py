"""A frozen tokenizer that labels windows: a stage that is evaluated and never trained."""

import jax

from labram_jax.config import TokenizerStageConfig
from labram_jax.models import TokenizerModel
from labram_jax.models.patches import empty_batch
from labram_jax.stages.stage import Batch, PyTree, Stage, Statistics


class LabellingStage(Stage):
    """The tokenizer of `config.model`; an evaluation gives the codes of all patch slots, as they lie in the rows."""

    name = "labelling"

    def __init__(self, config: TokenizerStageConfig):
        self.config = config
        self.model = TokenizerModel(config.model, config.compute)
        self.encoder_depth = config.model.encoder.depth
        self.frozen: dict = {}

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch())

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """The code of every slot, meaningless in padding, beside the number of its segment."""
        codes = self.model.apply(variables, self.stream(batch), method=TokenizerModel.encode)
        return Statistics(rows={"codes": codes, "segment_ids": batch["segment_ids"]})
