"""What a stage must say to be trained by the one loop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from labram_jax.config import AnyStageConfig
from labram_jax.training.state import TrainState

PyTree = Any
Batch = Mapping[str, jax.Array]


@dataclass(frozen=True)
class Resumption:
    """Where a training stands that began elsewhere: AdamW's moments (numpy, like the parameters), the updates that
    they have seen, and the epochs that are done."""

    first: PyTree
    second: PyTree
    updates: int
    epochs: int


class Stage:
    """Base of the stages: `init` and `loss` are a stage's own, the other methods have a neutral default.

    Attributes:
        config: the stage's configuration, saved with every checkpoint.
        name: what progress and messages call it.
        encoder_depth: blocks of the encoder, for layer-wise learning rates.
        frozen: constants handed to `loss` and not saved (numpy or jax arrays), such as another model's variables.
        selection: validation metric of the best checkpoint and its better direction, or None for no selection.
    """

    config: AnyStageConfig
    name: str
    encoder_depth: int
    frozen: PyTree
    selection: tuple[str, Literal["max", "min"]] | None = None

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        """Fresh variables {"params": ..., collection: ...}, boxed with their logical axes; traced under jit."""
        raise NotImplementedError

    def initial(self) -> Mapping[str, PyTree]:
        """Part of the variables, as numpy arrays, that replaces the fresh ones: an imported encoder, say."""
        return {}

    def resumption(self) -> Resumption | None:
        """The state of the optimizer that belongs to `initial`; None starts it anew, at step 0."""
        return None

    def trainable(self, params: PyTree) -> PyTree | None:
        """Tree of booleans like `params`, False for what stays as it is; None trains all."""
        return None

    def loss(
        self,
        params: PyTree,
        collections: dict[str, PyTree],
        frozen: PyTree,
        batch: Batch,
        key: jax.Array,
        step: Int[Array, ""],
    ) -> tuple[Float[Array, ""], tuple[dict[str, PyTree], dict[str, Float[Array, ""]]]]:
        """Pure and traced: (loss, (collections, metrics)).

        Metrics are scalars and means over the batch, except "patches": the number of real patches in it, from which
        the loop takes the speed.
        """
        raise NotImplementedError

    def before_step(self, state: TrainState, batch: Batch, step: int) -> TrainState:
        """On the host before step `step`: returns `state` itself unless something must happen there."""
        return state

    def evaluate(self, state: TrainState, batches: Iterable[Batch]) -> dict[str, float]:
        """Metrics over all `batches` of a split, the same on every process."""
        raise NotImplementedError

    def watch(self, step: int, metrics: Mapping[str, float | np.floating]) -> str | None:
        """A warning about the metrics logged at `step`, or None."""
        return None
