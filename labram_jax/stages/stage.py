"""What a stage must say to be trained by the one loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int, Key

from labram_jax.config import AnyStageConfig
from labram_jax.models import PatchBatch

PyTree = Any
# A class of stages and the arguments, which can be hashed, to make one without arrays.
Recipe = tuple[Any, ...]
Batch = Mapping[str, jax.Array]
# (params, collections, batch, key) -> collections; pure and traced.
Event = Callable[[PyTree, dict[str, PyTree], Batch, Key[Array, ""]], dict[str, PyTree]]


@dataclass(frozen=True)
class Resumption:
    """Where a training stands that began elsewhere: AdamW's moments (numpy, like the parameters), the updates that
    they have seen, and the epochs that are done. With moving averages, which are then its model: the parameters that
    these are of, and the updates that they have seen."""

    first: PyTree
    second: PyTree
    updates: int
    epochs: int
    moved: PyTree | None = None
    averaged_updates: int = 0


@struct.dataclass
class Statistics:
    """What was found in some rows of a batch: by a loss beside its value, or by an evaluation; a pytree.

    Attributes:
        metrics: scalars that add up over the rows of a batch, such as means over the whole of it.
        sums: other arrays that add up.
        rows: arrays whose leading axis is the rows'.
    """

    metrics: dict[str, Float[Array, ""]] = struct.field(default_factory=dict)
    sums: PyTree = struct.field(default_factory=dict)
    rows: PyTree = struct.field(default_factory=dict)


class Stage:
    """Base of the stages: pure functions, which `Program` compiles; a stage compiles nothing itself.

    `init`, `denominators`, `loss`, `evaluate_batch` and `summarise` are a stage's own; the others have a neutral
    default.

    Attributes:
        config: the stage's configuration, saved with every checkpoint.
        name: what progress and messages call it.
        encoder_depth: blocks of the encoder, for layer-wise learning rates.
        frozen: constants handed to `loss` and not saved (numpy or jax arrays), such as another model's variables.
        selection: validation metric of the best checkpoint and its better direction, or None for no selection.
        patience: evaluations without a better one after which training ends, or None.
    """

    config: AnyStageConfig
    name: str
    encoder_depth: int
    frozen: PyTree
    selection: tuple[str, Literal["max", "min"]] | None = None
    patience: int | None = None

    def stream(self, batch: Batch) -> PatchBatch:
        """Traced: the patches of a batch as it was read."""
        return PatchBatch.of(batch, self.config.data.segments, self.config.compute.dtype)

    def recipe(self) -> Recipe | None:
        """Makes a stage that computes what this one does, whatever the run and its seed; None: there is none.

        A stage with events has none, since they know the seed.
        """
        return None

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
        """Tree like `params` of booleans, or arrays of them that broadcast, False for what stays; None trains all."""
        return None

    def denominators(self, batch: Batch) -> dict[str, Float[Array, ""]]:
        """Pure and traced: what the means of a whole batch are taken over, such as the number of its patches."""
        raise NotImplementedError

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
        """Pure and traced: what the rows of `batch` add to the loss of the batch that has `denominators`.

        `keys` has one for each row, so that what is drawn does not depend on how a batch is taken apart. Among the
        metrics is "patches": the number of real patches, from which the loop takes the speed.
        """
        raise NotImplementedError

    def apply_statistics(
        self, collections: dict[str, PyTree], statistics: Statistics, key: Key[Array, ""], step: Int[Array, ""]
    ) -> tuple[dict[str, PyTree], dict[str, Float[Array, ""]]]:
        """Pure and traced: collections after the step, and its metrics, from the statistics of the whole batch."""
        del key, step
        return collections, statistics.metrics

    def events(self) -> Mapping[int, Event]:
        """What happens before some steps, each with the batch of its step; the functions are pure and traced."""
        return {}

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """Pure and traced: what an evaluation needs of one batch, in `sums` and `rows`."""
        raise NotImplementedError

    def summarise(self, statistics: Statistics) -> dict[str, float]:
        """On the host: metrics of a split from the sums (64 bit) and the rows (one after another) of its batches."""
        raise NotImplementedError

    def warn_about(self, step: int, metrics: Mapping[str, float | np.floating]) -> str | None:
        """A warning about the metrics logged at `step`, or None."""
        return None
