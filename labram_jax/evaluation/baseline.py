"""The baseline beside every classifier: logistic regression on log band powers, as the field has long done it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from labram_jax import metrics
from labram_jax.adaptation.band_powers import read_powers, shared_electrodes
from labram_jax.data.views import Windows
from labram_jax.errors import InputError
from labram_jax.evaluation.predictions import PredictionTable, listed

# Enough for 7 powers of some dozen electrodes; beyond that the fit only grows slower.
MAX_TRAIN_WINDOWS = 20_000


@dataclass(frozen=True)
class BandPowers:
    """The baseline, fitted once: a logistic or ridge regression on log band powers of some electrodes.

    Attributes:
        electrodes: those that all montages have that it was fitted for.
        train_windows: how many windows it was fitted to.
        classes: their names, empty where they have none; `task` says how it is scored.
        present: the classes that occur in training; others get no probability.
    """

    electrodes: tuple[str, ...]
    train_windows: int
    task: metrics.Task
    classes: tuple[str, ...]
    present: Int[np.ndarray, "present"]
    model: Pipeline

    def predict(self, windows: Sequence[Windows]) -> PredictionTable:
        """The predictions for all windows of a split, in the order of `predictions.listed`."""
        powers, _ = read_powers(windows, self.electrodes)
        features = powers.reshape(len(powers), -1)
        if self.task == "regression":
            outputs = np.asarray(self.model.predict(features)).reshape(len(features), -1)
        else:
            outputs = np.zeros((len(features), 2 if self.task == "binary" else len(self.classes)))
            outputs[:, self.present] = self.model.predict_proba(features)
            outputs = outputs[:, 1:] if self.task == "binary" else outputs
        return PredictionTable.of(listed(windows), outputs, self.task, self.classes)


def classifier() -> Pipeline:
    """Standardised features into a logistic regression that weighs the classes equally; NaN counts as the mean."""
    return make_pipeline(_imputer(), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))


def _imputer() -> SimpleImputer:
    return SimpleImputer(keep_empty_features=True)


def fit_band_powers(
    train: Sequence[Windows], others: Sequence[Windows], task: metrics.Task, classes: tuple[str, ...]
) -> BandPowers:
    """Fits the baseline to the labelled windows `train` of some corpora, to be used on `others` as well.

    Montages may differ: the electrodes that all of them share are used. At most 20,000 training windows, evenly
    spread, are read. Raises InputError if no electrode is shared, or there are no labels or one class alone.
    """
    electrodes = shared_electrodes([*train, *others])
    powers, labels = read_powers(train, electrodes, MAX_TRAIN_WINDOWS)
    known = np.isfinite(labels).all(axis=1) if task == "regression" else labels >= 0
    if not known.any():
        raise InputError(
            f"The split {train[0].split!r} has no labelled windows for the baseline: prepare it with labels."
        )
    features, labels = powers[known].reshape(known.sum(), -1), labels[known]
    present = np.arange(0) if task == "regression" else np.unique(labels)
    if task != "regression" and len(present) < 2:
        raise InputError(f"All training windows have label {present}: the baseline needs two classes at least.")
    model = make_pipeline(_imputer(), StandardScaler(), Ridge()) if task == "regression" else classifier()
    return BandPowers(electrodes, len(labels), task, classes, present, model.fit(features, labels))
