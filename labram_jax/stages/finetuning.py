"""The fine-tuning stage: a classifier or regressor on labelled windows."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key

from labram_jax import metrics
from labram_jax.config import ClassifierConfig, FinetuningStageConfig, replace
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel, lora
from labram_jax.models.encoder import branch_factors
from labram_jax.models.patches import empty_batch
from labram_jax.stages.stage import Batch, PyTree, Recipe, Stage, Statistics

# What of a classifier's parameters makes its logits of what was read out.
HEADS = frozenset({"head", "amplitude_head", "filter_head"})


def window_losses(
    logits: Float[Array, "B S outputs"], labels: Int[Array, "B S"], smoothing: float
) -> Float[Array, "B S"]:
    """Cross-entropy of each window: with logits of one output (binary), or of all classes with label smoothing.

    Where the label is -1 the value means nothing.
    """
    if logits.shape[-1] == 1:
        return optax.sigmoid_binary_cross_entropy(logits[..., 0], jnp.clip(labels, 0, 1).astype(logits.dtype))
    log_shares = jax.nn.log_softmax(logits, axis=-1)
    right = jnp.take_along_axis(log_shares, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return -(1 - smoothing) * right - smoothing * log_shares.mean(axis=-1)


def labelled(labels: Array) -> Bool[Array, "..."]:
    """True where there is a label: a class from 0 on, or a number."""
    return jnp.isfinite(labels) if jnp.issubdtype(labels.dtype, jnp.floating) else labels >= 0


def classification_loss(
    logits: Float[Array, "B S outputs"],
    labels: Int[Array, "B S"],
    smoothing: float = 0.0,
    total: Float[Array, ""] | None = None,
    class_weights: tuple[float, ...] = (),
) -> Float[Array, ""]:
    """Mean of the windows' cross-entropies, weighted by their classes if there are weights; those labelled -1 do not
    count.

    `total`: labels (or their weights) in the whole batch, if this is a part of it: the parts' values then add up to the
    mean.
    """
    weights = weights_of(labels, class_weights)
    losses = jnp.where(labelled(labels), weights * window_losses(logits, labels, smoothing), 0)
    total = weights.sum() if total is None else total
    return losses.sum() / jnp.where(total > 0, total, 1)


def weights_of(labels: Array, class_weights: tuple[float, ...] = ()) -> Float[Array, "..."]:
    """What each label counts: 1, or the weight of its class, and 0 where there is none."""
    known = labelled(labels)
    if not class_weights:
        return known.astype(jnp.float32)
    return jnp.where(known, jnp.asarray(class_weights, jnp.float32)[jnp.maximum(labels, 0)], 0)


def regression_loss(
    predictions: Float[Array, "B S outputs"],
    labels: Float[Array, "B S outputs"],
    total: Int[Array, ""] | None = None,
) -> Float[Array, ""]:
    """Mean squared error over all outputs of the windows; those labelled NaN do not count. `total` as above."""
    known = labelled(labels)
    square = jnp.where(known, predictions - jnp.where(known, labels, 0), 0) ** 2
    return square.sum() / jnp.maximum(known.sum() if total is None else total, 1)


class Predictions(NamedTuple):
    """Of every window, in the order of the split: logits, label, number of the window and of its corpus."""

    logits: Float[np.ndarray, "N outputs"]
    labels: np.ndarray
    window_ids: Int[np.ndarray, " N"]
    corpus_ids: Int[np.ndarray, " N"]

    def labelled(self) -> "Predictions":
        """Those of the windows that have a label, none of whose numbers is missing."""
        known = np.isfinite(self.labels).all(axis=-1) if self.labels.ndim == 2 else self.labels >= 0
        return Predictions(*(values[known] for values in self))


class FinetuningStage(Stage):
    """Trains a classifier; `encoder_params` are those of a pretrained encoder, or None to start from scratch.

    `class_weights`: what a window of each class counts in the loss; empty: all the same.
    """

    name = "fine-tuning"

    def __init__(
        self,
        config: FinetuningStageConfig,
        encoder_params: PyTree | None,
        class_weights: tuple[float, ...] = (),
    ):
        self.config = config
        self.model = ClassifierModel(config.model, config.compute)
        self.encoder_depth = config.model.encoder.depth
        if config.trainable == "blocks" and config.last_blocks > self.encoder_depth:
            raise InputError(
                f"last_blocks is {config.last_blocks}, but the encoder has {self.encoder_depth} blocks: choose fewer, "
                "or train all."
            )
        self.frozen: dict = {}
        self.encoder_params = encoder_params
        self.class_weights = class_weights
        self.selection = selection_of(config)
        self.patience = config.patience

    def selecting_on(self, labels: np.ndarray) -> tuple["FinetuningStage", str | None]:
        """This stage with a selection that validation windows of these labels can make, and what to tell of it.

        Where they give AUROC, kappa or R2 no value, the loss takes the place of one that was not asked for by name;
        one that was is refused (InputError).
        """
        metric, _ = self.selection
        reason = metrics.undefined(task_of(self.config), labels).get(metric)
        if reason is None:
            return self, None
        if self.config.select_by != "auto":
            raise InputError(
                f"select_by is {metric!r}, which has no value on the validation windows ({reason}): choose another, "
                "such as loss, or give them all classes."
            )
        stage = copy.copy(self)
        stage.config = dataclasses.replace(self.config, select_by="loss")
        stage.selection = selection_of(stage.config)
        return stage, f"the best checkpoint is chosen by its loss, since {metric} has no value on validation: {reason}"

    def recipe(self) -> Recipe | None:
        return type(self), replace(self.config, **{"run": "", "loop.seed": 0}), None, self.class_weights

    def init(self, key: jax.Array) -> dict[str, PyTree]:
        variables = self.model.init(key, empty_batch())
        if self.config.trainable != "lora":
            return variables
        # Its own key, so that all else starts as without it.
        updates = lora.fresh_updates(jax.random.fold_in(key, 1), nn.unbox(variables["params"]), self.config.lora_rank)
        return {**variables, "params": {**variables["params"], lora.NAME: updates}}

    def initial(self) -> Mapping[str, PyTree]:
        return {} if self.encoder_params is None else {"params": self.encoder_params}

    def trainable(self, params: PyTree) -> PyTree | None:
        if self.config.trainable == "all":
            return None
        fitted = HEADS if self.config.trainable == "probe" else params.keys() - {"encoder"}
        tree = {name: jax.tree.map(lambda _, own=name in fitted: own, part) for name, part in params.items()}
        if self.config.trainable == "blocks":
            last = np.arange(self.encoder_depth) >= self.encoder_depth - self.config.last_blocks
            blocks = params["encoder"]["blocks"]
            tree["encoder"]["blocks"] = jax.tree.map(lambda leaf: last.reshape(-1, *[1] * (leaf.ndim - 1)), blocks)
        return tree

    def plain(self, variables: Mapping[str, PyTree]) -> Mapping[str, PyTree]:
        """What the model is applied to: the variables with low-rank updates merged, if there are any."""
        if self.config.trainable != "lora":
            return variables
        return {**variables, "params": lora.merged(variables["params"], self.config.lora_scale)}

    def denominators(self, batch: Batch) -> dict[str, Float[Array, ""]]:
        labels = batch["labels"]
        found = {"labels": labelled(labels).sum()}
        return {**found, "weights": weights_of(labels, self.class_weights).sum()} if self.class_weights else found

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
        """Binary or smoothed cross-entropy, or mean squared error, over labelled windows."""
        stream = self.stream(batch)
        factors = branch_factors(self.config.model.encoder, keys, stream.segments)
        logits = self.model.apply(self.plain({"params": params}), stream, factors)
        total, report = denominators["labels"], {"patches": stream.valid.sum()}
        if self.config.model.task == "regression":
            loss = regression_loss(*standardised(self.config.model, logits, stream.labels), total)
        else:
            weight, smoothing = denominators.get("weights", total), self.config.label_smoothing
            loss = classification_loss(logits, stream.labels, smoothing, weight, self.class_weights)
            guess = logits[..., 0] > 0 if logits.shape[-1] == 1 else logits.argmax(axis=-1)
            right = jnp.sum(guess == stream.labels, where=labelled(stream.labels))
            report["accuracy"] = right / jnp.maximum(total, 1)
        return loss, Statistics({"loss": loss, **report})

    def evaluate_batch(self, variables: dict[str, PyTree], frozen: PyTree, batch: Batch) -> Statistics:
        """Logits of all places for windows, beside their labels and numbers: scores such as AUROC are no sums."""
        known = {name: batch[name] for name in ("labels", "window_ids", "corpus_ids")}
        return Statistics(rows={"logits": self.model.apply(self.plain(variables), self.stream(batch)), **known})

    def summarise(self, statistics: Statistics) -> dict[str, float]:
        """All metrics that the labelled windows define."""
        return scores_of(self.config, predictions_of(statistics).labelled())


def predictions_of(statistics: Statistics) -> Predictions:
    """Logits and labels of all windows, from what was collected of a split."""
    rows = [statistics.rows[name] for name in ("logits", "labels", "window_ids", "corpus_ids")]
    there = statistics.rows["window_ids"] >= 0
    return Predictions(*(values[there] for values in rows))


def labelled_windows(statistics: Statistics) -> dict[str, np.ndarray]:
    """What was collected of the windows of a split that have a label, window by window."""
    labels = statistics.rows["labels"]
    known = np.isfinite(labels).all(axis=-1) if labels.ndim == 3 else labels >= 0
    return {name: values[known] for name, values in statistics.rows.items()}


def selection_of(config: FinetuningStageConfig) -> tuple[str, Literal["max", "min"]]:
    """Validation metric of the best model and its better direction; InputError where the task has no such metric."""
    task = task_of(config)
    metric = metrics.SELECTING[task] if config.select_by == "auto" else config.select_by
    if metric not in (known := ("loss", *metrics.METRICS[task])):
        what = {"binary": "of two classes", "multiclass": f"of {config.model.outputs} classes"}.get(
            task, "of regression"
        )
        raise InputError(
            f"select_by is {metric!r}, which a task {what} does not have: choose one of {', '.join(known)}."
        )
    return metric, "min" if metric in metrics.LOWER_IS_BETTER else "max"


def standardised(model: ClassifierConfig, *values: Float[Array, "... outputs"]) -> tuple[Float[Array, "..."], ...]:
    """Predictions and targets in units of the targets' spread, if the model has it."""
    return tuple(
        value / np.asarray(model.target_scale, value.dtype) if model.target_scale else value for value in values
    )


def task_of(config: FinetuningStageConfig) -> metrics.Task:
    return metrics.task_of(config.model.outputs, config.model.task == "regression")


def _equal_parts(labels: Int[np.ndarray, "..."]) -> tuple[float, ...]:
    """Weights by which each class that occurs has the same part of a sum over these labels."""
    counts = np.bincount(labels[labels >= 0])
    return tuple((1 / np.maximum(counts, 1)).tolist())


def scores_of(config: FinetuningStageConfig, predictions: Predictions) -> dict[str, float]:
    """All metrics that the windows define, and the loss without label smoothing.

    Where training makes classes count the same, each has the same part of this loss too: that of all windows alike
    would praise who guesses the classes by how frequent they are, and training has told the model not to.
    """
    logits, labels = predictions.logits[None], predictions.labels[None]
    task = task_of(config)
    if task == "regression":
        loss = regression_loss(*standardised(config.model, logits, labels))
    else:
        weights = () if config.balance == "none" else _equal_parts(labels)
        loss = classification_loss(logits, labels, class_weights=weights)
    scores = metrics.scorer(task)(metrics.probabilities_of(predictions.logits, task), predictions.labels)
    return {"loss": float(loss), **scores.values}
