"""What the head of a classifier sees of labelled windows: a stage that is evaluated and never trained."""

from collections.abc import Sequence

import jax
import numpy as np

from labram_jax.config import FinetuningStageConfig
from labram_jax.models import ClassifierModel
from labram_jax.models.patches import empty_batch
from labram_jax.stages.finetuning import FinetuningStage
from labram_jax.stages.stage import Batch, PyTree, Statistics


class ReadingStage(FinetuningStage):
    """The classifier of `config.model` without heads; an evaluation gives its readout, of the electrodes of `rows`."""

    name = "reading features"

    def __init__(self, config: FinetuningStageConfig, rows: Sequence[int]):
        super().__init__(config, None)
        self.rows = np.asarray(rows)

    def recipe(self) -> None:
        """None: what a corpus' features are read by is used once."""

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        return self.model.init(key, empty_batch(), method=ClassifierModel.readout)

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """The readout of all places for windows, beside their labels and numbers."""
        seen = self.model.apply(variables, self.stream(batch), method=ClassifierModel.readout)
        rows = seen.of_electrodes(self.rows, self.config.model.pooling == "electrodes")
        return Statistics(rows=rows | {name: batch[name] for name in ("labels", "window_ids", "corpus_ids")})
