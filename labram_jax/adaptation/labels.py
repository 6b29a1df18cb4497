"""What the labels of the training split say about how to train: weights of classes, mean and spread of targets."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from labram_jax.config import ClassifierConfig, DataConfig, FinetuningStageConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.errors import InputError


def training_labels(data: DataConfig, corpora: list[Corpus]) -> list[np.ndarray]:
    """Labels of all training windows of each corpus that has any, in order; -1 or NaN where there is none."""
    windows = windows_of(data, corpora, data.train_split)
    return [own.labels() for own in windows if len(own)]


def balanced_weights(labels: Sequence[np.ndarray], shares: Sequence[float], classes: int) -> tuple[float, ...]:
    """Weights of classes by which each has the same part of the loss, 1 in the mean over the windows that are drawn.

    `labels` are those of each corpus, `shares` how much of each is drawn (empty: in proportion to its windows).
    """
    shares = shares or [len(own) for own in labels]
    parts = [np.bincount(own[own >= 0], minlength=classes) / len(own) for own in labels]
    drawn = np.sum([share * part for share, part in zip(shares, parts, strict=True)], axis=0)
    return tuple((drawn.sum() / classes / np.where(drawn > 0, drawn, np.inf)).tolist())


def with_targets(model: ClassifierConfig, labels: Sequence[np.ndarray]) -> ClassifierConfig:
    """The regressor with mean and spread of its targets; one that never changes has a spread of 1."""
    targets = np.concatenate(labels).astype(np.float64)
    targets = targets[np.isfinite(targets).all(axis=1)]
    if not len(targets):
        return model
    mean, spread = targets.mean(axis=0), targets.std(axis=0)
    scale = np.where(spread > 1e-6 * np.abs(mean), spread, 1)
    return dataclasses.replace(model, target_mean=tuple(mean.tolist()), target_scale=tuple(scale.tolist()))


def with_labels(config: FinetuningStageConfig, corpora: list[Corpus]) -> ClassifierConfig:
    """The model with the outputs that the corpora's labels ask for; InputError where they cannot be learnt together."""
    model, first = config.model, corpora[0]
    for corpus in corpora:
        if corpus.info.label is None:
            raise InputError(f"The corpus {corpus.path} has no labels: prepare it with a task or a manifest.")
        if (corpus.info.label, corpus.classes, corpus.info.outputs) != (
            first.info.label,
            first.classes,
            first.info.outputs,
        ):
            raise InputError(f"The corpora {first.path} and {corpus.path} have different labels: train one at a time.")
    if first.info.label == "vector":
        model = dataclasses.replace(model, task="regression", outputs=first.info.outputs, classes=())
        return with_targets(model, training_labels(config.data, corpora)) if config.standardise_targets else model
    if len(first.classes) < 2:
        raise InputError(f"The corpus {first.path} has one class alone ({first.classes[0]}): nothing can be learnt.")
    outputs = 1 if len(first.classes) == 2 else len(first.classes)
    return dataclasses.replace(model, task="classification", outputs=outputs, classes=first.classes)
