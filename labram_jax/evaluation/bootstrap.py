"""How sure a score is: intervals over resamples of the subjects, whose windows stay together.

Thousands of resamples are scored at once. All metrics but the two areas are functions of sums over windows, which add
up over subjects; the areas are taken over windows in the order of their score. `tests/evaluation/test_bootstrap.py`
holds every one of them to `labram_jax.metrics` on resamples that are written out.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from labram_jax.evaluation.predictions import PredictionTable
from labram_jax.metrics import CALIBRATION_BINS
from labram_jax.tables import Interval

RESAMPLES = 1000
LEVEL = 0.95
_ELEMENTS = 1 << 22  # weights in memory at one time

Weights = Int[np.ndarray, "R subjects"]
Values = dict[str, Float[np.ndarray, "R"]]


def intervals(table: PredictionTable, seed: int, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """Returns the 95 % interval of each metric: percentiles over resamples of the subjects, with replacement.

    Resamples in which a metric has no value are left out; it has no interval where that is half of them, and none has
    where there is one subject. The same seed and subjects give the same resamples, whatever the predictions.
    """
    subjects = table.subjects
    count = int(subjects.max()) + 1
    if count < 2:
        return {}
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    found, tail = {}, 50 * (1 - LEVEL)
    for name, values in resampled(table, weights).items():
        values = values[np.isfinite(values)]
        if 2 * len(values) > resamples:
            found[name] = Interval(*np.percentile(values, [tail, 100 - tail]).tolist())
    return found


def resampled(table: PredictionTable, weights: Weights) -> Values:
    """Returns every metric of every resample: `weights` says how often each subject is in it. NaN where undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        score = _regression if table.task == "regression" else _classification
        return score(table, weights)


def _classification(table: PredictionTable, weights: Weights) -> Values:
    outputs, labels, subjects = table.outputs, table.labels, table.subjects
    binary = table.task == "binary"
    predicted = (outputs[:, 1] >= 0.5).astype(int) if binary else outputs.argmax(axis=1)
    classes = outputs.shape[1]
    summed = _by_subject(subjects, weights)
    cells = (subjects * classes + labels) * classes + predicted
    confusions = np.bincount(cells, minlength=weights.shape[1] * classes**2)
    found = _of_confusions((weights @ confusions.reshape(-1, classes**2)).reshape(-1, classes, classes))
    shares = outputs / outputs.sum(axis=1, keepdims=True)
    windows = summed(np.ones(len(labels)))
    right = np.clip(shares[np.arange(len(labels)), labels], np.finfo(shares.dtype).eps, 1)
    found["log_loss"] = summed(-np.log(right)) / windows
    square = ((shares - np.eye(classes)[labels]) ** 2).sum(axis=1)
    found["brier"] = summed(square / 2 if classes == 2 else square) / windows
    confidence = shares.max(axis=1)
    gap = confidence - (shares.argmax(axis=1) == labels)
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = [np.abs(summed(np.where(bins == own, gap, 0))) for own in range(CALIBRATION_BINS)]
    found["calibration_error"] = sum(gaps) / windows
    if binary:
        return found | _areas(outputs[:, 1], labels == 1, weights, subjects)
    areas = np.stack([_areas(outputs[:, own], labels == own, weights, subjects)["auroc"] for own in range(classes)])
    there = np.isfinite(areas)  # classes that a resample lacks have none
    return found | {"auroc_ovr": np.where(there, areas, 0).sum(axis=0) / there.sum(axis=0)}


def _by_subject(subjects: Int[np.ndarray, "N"], weights: Weights) -> Callable[[np.ndarray], Float[np.ndarray, "R"]]:
    """The function that sums values of windows over every resample."""
    return lambda values: weights @ np.bincount(subjects, values, minlength=weights.shape[1])


def _of_confusions(counts: Float[np.ndarray, "R classes classes"]) -> Values:
    """Metrics that follow from how many windows of each class (rows) are taken for which (columns)."""
    total, right = counts.sum(axis=(1, 2)), np.diagonal(counts, axis1=1, axis2=2)
    true, taken = counts.sum(axis=2), counts.sum(axis=1)
    expected = (true * taken).sum(axis=1) / total**2
    accuracy = right.sum(axis=1) / total
    f1 = np.where(true + taken > 0, 2 * right / (true + taken), 0)
    return {
        "balanced_accuracy": np.nanmean(np.where(true > 0, right / true, np.nan), axis=1),
        "cohen_kappa": np.where(expected < 1, (accuracy - expected) / (1 - expected), np.nan),
        "weighted_f1": (f1 * true).sum(axis=1) / total,
        "accuracy": accuracy,
    }


def _areas(score: np.ndarray, positive: np.ndarray, weights: Weights, subjects: np.ndarray) -> Values:
    """Area under the ROC curve by trapezoids, and average precision; thresholds are the values that occur."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of the windows of one score
    positive, subjects = positive[order], subjects[order]
    auroc, precision = [], []
    step = max(1, _ELEMENTS // len(score))
    for first in range(0, len(weights), step):
        own = weights[first : first + step, subjects]
        hits = np.cumsum(own * positive, axis=1)[:, last]
        alarms = np.cumsum(own * ~positive, axis=1)[:, last]
        gained = np.diff(hits, axis=1, prepend=0)
        widths = np.diff(alarms, axis=1, prepend=0)
        area = (widths * (hits - gained / 2)).sum(axis=1)
        auroc.append(area / (hits[:, -1] * alarms[:, -1]))
        share = np.where(hits + alarms > 0, hits / (hits + alarms), 0)
        precision.append(np.where(alarms[:, -1] > 0, (gained * share).sum(axis=1) / hits[:, -1], np.nan))
    return {"auroc": np.concatenate(auroc), "auc_pr": np.concatenate(precision)}


def _regression(table: PredictionTable, weights: Weights) -> Values:
    summed = _by_subject(table.subjects, weights)
    windows = summed(np.ones(len(table)))
    found: dict[str, list] = {"pearson_r": [], "r2": [], "rmse": []}
    for predicted, target in zip(table.outputs.T, table.labels.T.astype(np.float64), strict=True):
        error = summed((predicted - target) ** 2)
        # About their means, for the sake of rounding.
        predicted, target = predicted - predicted.mean(), target - target.mean()
        spread_t = summed(target**2) - summed(target) ** 2 / windows
        spread_p = summed(predicted**2) - summed(predicted) ** 2 / windows
        together = summed(predicted * target) - summed(predicted) * summed(target) / windows
        # A resample of equal targets has no spread but by rounding.
        spread_t, spread_p = (np.where(own > 1e-12 * windows, own, np.nan) for own in (spread_t, spread_p))
        found["pearson_r"].append(together / np.sqrt(spread_t * spread_p))
        found["r2"].append(1 - error / spread_t)
        found["rmse"].append(np.sqrt(error / windows))
    return {name: np.mean(values, axis=0) for name, values in found.items()}
