"""The baseline beside every classifier: logistic regression on log band powers, as the field has long done it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from labram_jax import metrics
from labram_jax.adaptation.band_powers import read_powers, shared_electrodes
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.evaluation.predictions import PredictionTable, listed

# Enough for 7 powers of some dozen electrodes; beyond that the fit only grows slower.
MAX_WINDOWS = 20_000
# The C of scikit-learn, the strongest penalty first, and that without validation windows to choose by.
USUAL_STRENGTH = 1.0
STRENGTHS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, USUAL_STRENGTH)


@dataclass(frozen=True)
class BandPowers:
    """The baseline, fitted once: a logistic or ridge regression on log band powers of some electrodes.

    Attributes:
        electrodes: those that all montages have that it was fitted for.
        train_windows: how many windows it was fitted to.
        strength: the inverse of its penalty on the squared weights of standardised powers, the C of scikit-learn.
        classes: their names, empty where they have none; `task` says how it is scored.
        present: the classes that occur in training; others get no probability.
    """

    electrodes: tuple[str, ...]
    train_windows: int
    strength: float
    task: metrics.Task
    classes: tuple[str, ...]
    present: Int[np.ndarray, "present"]
    model: Pipeline

    def predict(self, windows: Sequence[SplitWindows]) -> PredictionTable:
        """The predictions for all windows of a split, in the order of `predictions.listed`."""
        powers, _ = read_powers(windows, self.electrodes)
        return self.table(powers.reshape(len(powers), -1), listed(windows))

    def table(self, features: Float[np.ndarray, "N features"], places: pd.DataFrame) -> PredictionTable:
        """The predictions for windows with these powers, in the places that `predictions.listed` gives."""
        if self.task == "regression":
            outputs = np.asarray(self.model.predict(features)).reshape(len(features), -1)
        else:
            outputs = np.zeros((len(features), 2 if self.task == "binary" else len(self.classes)))
            outputs[:, self.present] = self.model.predict_proba(features)
            outputs = outputs[:, 1:] if self.task == "binary" else outputs
        return PredictionTable.of(places, outputs, self.task, self.classes)


def _pipeline(task: metrics.Task, strength: float) -> Pipeline:
    """Standardised features into a regression that weighs the classes equally; NaN counts as the mean."""
    if task == "regression":
        model = Ridge(1 / strength)
    else:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), model)


def fit_band_powers(
    train: Sequence[SplitWindows],
    validation: Sequence[SplitWindows],
    others: Sequence[SplitWindows],
    task: metrics.Task,
    classes: tuple[str, ...],
) -> BandPowers:
    """Fits the baseline to the labelled windows `train` of some corpora, to be used on `others` as well.

    Its penalty is the one with the best score on the windows `validation`, as a probe's is, by `metrics.SELECTING`; of
    equals the strongest, and that of C = 1 where there is no such score. Montages may differ: the electrodes that all
    of them share are used. At most 20,000 training windows, evenly spread, are read, and as many for validation, drawn
    from each corpus. Raises InputError if no electrode is shared, or there are no labels or one class alone.
    """
    electrodes = shared_electrodes([*train, *validation, *others])
    powers, labels = read_powers(train, electrodes, MAX_WINDOWS)
    known = np.isfinite(labels).all(axis=1) if task == "regression" else labels >= 0
    if not known.any():
        raise InputError(
            f"The split {train[0].split!r} has no labelled windows for the baseline: prepare it with labels."
        )
    features, labels = powers[known].reshape(known.sum(), -1), labels[known]
    present = np.arange(0) if task == "regression" else np.unique(labels)
    if task != "regression" and len(present) < 2:
        raise InputError(f"All training windows have label {present}: the baseline needs two classes at least.")
    validation = [own.labelled_sample(MAX_WINDOWS, seed=0) for own in validation if len(own)]
    fitted = [
        BandPowers(
            electrodes, len(labels), strength, task, classes, present, _pipeline(task, strength).fit(features, labels)
        )
        for strength in (STRENGTHS if any(map(len, validation)) else (USUAL_STRENGTH,))
    ]
    return fitted[0] if len(fitted) == 1 else _best(fitted, validation, task)


def _best(fitted: Sequence[BandPowers], validation: Sequence[SplitWindows], task: metrics.Task) -> BandPowers:
    """The first of those with the best score on the validation windows; the usual one where none has a score."""
    powers, _ = read_powers(validation, fitted[0].electrodes)
    features, places = powers.reshape(len(powers), -1), listed(validation)
    scores = [own.table(features, places).scores().values.get(metrics.SELECTING[task]) for own in fitted]
    if None in scores:
        return next(own for own in fitted if own.strength == USUAL_STRENGTH)
    return fitted[int(np.argmax(scores))]
