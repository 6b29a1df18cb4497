"""What is found of features of labelled windows: shares of their variance, and probes with and without subjects."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from labram_jax import metrics
from labram_jax.adaptation.features import Features
from labram_jax.adaptation.linear import Block, Scale, scale_of, scaled
from labram_jax.adaptation.probe import choose
from labram_jax.evaluation.bootstrap import intervals
from labram_jax.evaluation.findings import AS_THEY_ARE, OWN_MEANS, REMOVED, Found, Share
from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.evaluation.subjects import Directions, less_own_means, subject_directions, told_apart
from labram_jax.evaluation.variance import FACTORS, Factors, label_alone, shares, shuffled_shares
from labram_jax.models.classifier import in_target_units
from labram_jax.stages.finetuning import FinetuningStage, task_of

Change = Callable[[Float[np.ndarray, "N F"], Factors], Float[np.ndarray, "N F"]]


class Part(NamedTuple):
    """The labelled windows of a split: where they are (`predictions.listed`), what they belong to, their features."""

    places: pd.DataFrame
    factors: Factors
    features: Features


class Splits(NamedTuple):
    """The windows that fit, those by which penalties are chosen, and those that are tested on, where there are such."""

    train: Part
    validation: Part | None = None
    test: Part | None = None

    @property
    def shown(self) -> list[Part]:
        """Those whose variance is taken apart."""
        return [self.train] + ([] if self.test is None else [self.test])


def factors_of(places: pd.DataFrame, labels: np.ndarray, classes: int | None) -> Factors:
    """What windows belong to; `labels` are indices of so many classes, or targets if that is None."""
    if classes is None:
        spread = labels.std(axis=0)
        columns = (labels - labels.mean(axis=0)) / np.where(spread > 0, spread, 1)
    else:
        columns = np.eye(classes)[labels]
    units = (places.groupby(["corpus", unit], sort=False).ngroup().to_numpy() for unit in ("subject", "recording"))
    return Factors(*units, columns, places["start_seconds"].to_numpy())


def examine(stage: FinetuningStage, splits: Splits, seed: int) -> Found:
    """Examines one kind of features; `stage` says which task labels are of, and how a probe of them is fitted.

    Features are standardised as `linear.scaled` does, so that kinds of unlike size weigh the same: for shares of the
    variance over the windows that these are of, else over the training windows, from which the subjects' directions
    come too. There are no scores without validation or test windows. Raises InputError where a probe cannot be fitted.
    """
    train = splits.train
    scales = [scale_of(block) for block in train.features.blocks]
    columns = scaled(train.features.blocks, scales)
    directions = subject_directions(columns, train.factors)
    variance, alone = {}, {}
    for part in splits.shown:
        split = part.places["split"].iloc[0]
        variance[split], alone[split] = _variance(part, seed)
    tables = {} if None in splits else _probed(stage, splits, scales, directions)
    return Found(
        variance,
        alone,
        len(directions.basis),
        directions.basis.shape[1],
        directions.held,
        told_apart(columns, train.factors, seed),
        {variant: table.scores().values for variant, table in tables.items()},
        {variant: intervals(table, seed) for variant, table in tables.items()},
    )


def _variance(part: Part, seed: int) -> tuple[dict[str, Share], float]:
    """Shares of the variance by factor, and that of labels alone."""
    blocks = part.features.blocks
    features = scaled(blocks, [scale_of(block) for block in blocks])
    own, shuffled = shares(features, part.factors), shuffled_shares(features, part.factors, seed)
    return {name: Share(own[name], shuffled.get(name)) for name in FACTORS}, label_alone(features, part.factors)


def _probed(
    stage: FinetuningStage, splits: Splits, scales: list[Scale], directions: Directions
) -> dict[str, PredictionTable]:
    """Predictions for the test windows by a probe of the features as they are, and of what is left of them."""
    changes: dict[str, Change | None] = {AS_THEY_ARE: None}
    if len(directions.basis):
        changes[REMOVED] = lambda features, _: directions.removed_from(features)
    if splits.train.factors.crossed:
        changes[OWN_MEANS] = less_own_means
    config, (*_, test) = stage.config, splits
    tables = {}
    for variant, change in changes.items():
        train, validation, tested = (
            part.features if change is None else _changed(part, scales, change) for part in splits
        )
        chosen = choose(stage, train, validation, say=lambda _: None)
        logits = in_target_units(config.model, chosen.fit(scaled(tested.blocks, chosen.scales)))
        outputs = metrics.probabilities_of(logits, task_of(config))
        tables[variant] = PredictionTable.of(test.places, outputs, task_of(config), config.model.classes)
    return tables


def _changed(part: Part, scales: list[Scale], change: Change) -> Features:
    """Features that were scaled and changed, in their blocks."""
    columns = change(scaled(part.features.blocks, scales), part.factors)
    ends = np.cumsum([scale.mean.size for scale in scales])
    return Features([Block(own) for own in np.split(columns, ends[:-1], axis=1)], part.features.labels)
