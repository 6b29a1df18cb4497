"""Scores of predictions, by scikit-learn, under the definitions that the published results use."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, softmax
from sklearn import metrics

from labram_jax.errors import InputError

OneClass = Literal["omit", "zero"]
Task = Literal["binary", "multiclass", "regression"]

# What each task's scores are called, in the order of tables.
METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("balanced_accuracy", "auroc", "auc_pr", "accuracy", "log_loss", "brier", "calibration_error"),
    "multiclass": (
        *("balanced_accuracy", "cohen_kappa", "weighted_f1", "auroc_ovr", "accuracy", "log_loss", "brier"),
        "calibration_error",
    ),
    "regression": ("pearson_r", "r2", "rmse"),
}
# By which the best of several is chosen, unless another is asked for.
SELECTING: dict[Task, str] = {"binary": "auroc", "multiclass": "cohen_kappa", "regression": "r2"}
LOWER_IS_BETTER = frozenset({"loss", "log_loss", "brier", "calibration_error", "rmse"})
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class Scores:
    """The metrics that the data define, and for every other one the reason why it has no value."""

    values: dict[str, float]
    undefined: dict[str, str] = field(default_factory=dict)


def binary(
    probabilities: Float[np.ndarray, "N"] | Float[np.ndarray, "N 1"],
    targets: Int[np.ndarray, "N"],
    *,
    one_class: OneClass = "omit",
) -> Scores:
    """Scores the probability of class 1: balanced accuracy, accuracy (threshold >= 0.5), AUROC, AUC-PR, log loss,
    Brier score, expected calibration error.

    With one class alone among the targets AUROC and AUC-PR say nothing: "omit" leaves them out with the reason,
    "zero" is the reference's rule, which sets all four of its metrics to 0. Raises InputError for empty or
    mismatched arrays and for values that are no probabilities.
    """
    probability, target = _paired(np.asarray(probabilities).reshape(-1), np.asarray(targets).reshape(-1))
    _check_probabilities(probability)
    if not np.isin(target, (0, 1)).all():
        raise InputError("A binary score needs labels 0 and 1; leave windows without a label out.")
    predicted = (probability >= 0.5).astype(np.int64)
    values = _of_probabilities(target, np.stack([1 - probability, probability], axis=1))
    missing = undefined("binary", target)
    if missing and one_class == "zero":
        return Scores(values | dict.fromkeys(("balanced_accuracy", "accuracy", "auroc", "auc_pr"), 0.0))
    if not missing:
        values["auroc"] = float(metrics.roc_auc_score(target, probability))
        values["auc_pr"] = float(metrics.average_precision_score(target, probability))
    values["balanced_accuracy"] = _balanced_accuracy(target, predicted)
    values["accuracy"] = float(metrics.accuracy_score(target, predicted))
    return Scores(_ordered("binary", values), missing)


def multiclass(probabilities: Float[np.ndarray, "N classes"], targets: Int[np.ndarray, "N"]) -> Scores:
    """Scores the likeliest class: balanced accuracy, unweighted Cohen's kappa, weighted F1, accuracy, and the
    probabilities: AUROC of each class against the rest (their mean), log loss, Brier score (summed over the classes),
    expected calibration error.

    Balanced accuracy and AUROC are means over the classes that occur among the targets. Kappa has no value when
    targets and predictions are one and the same class throughout. Raises InputError as `binary` does.
    """
    probability, target = _paired(np.asarray(probabilities), np.asarray(targets).reshape(-1))
    _check_probabilities(probability)
    classes = probability.shape[1]
    if target.min() < 0 or target.max() >= classes:
        raise InputError(
            f"The labels run from {target.min()} to {target.max()}, but there are {classes} classes: "
            "leave windows without a label out and check the number of outputs."
        )
    predicted = probability.argmax(axis=1)
    values = {
        "balanced_accuracy": _balanced_accuracy(target, predicted),
        "weighted_f1": float(metrics.f1_score(target, predicted, average="weighted", zero_division=0)),
        "accuracy": float(metrics.accuracy_score(target, predicted)),
        **_of_probabilities(target, probability),
    }
    missing = {name: reason for name, reason in undefined("multiclass", target).items() if name == "auroc_ovr"}
    if not missing:
        values["auroc_ovr"] = _auroc_one_vs_rest(target, probability)
    if len(np.unique(np.concatenate([target, predicted]))) == 1:
        missing["cohen_kappa"] = f"all labels and predictions are class {int(target[0])}"
    else:
        values["cohen_kappa"] = float(metrics.cohen_kappa_score(target, predicted))
    return Scores(_ordered("multiclass", values), missing)


def regression(predictions: Float[np.ndarray, "N outputs"], targets: Float[np.ndarray, "N outputs"]) -> Scores:
    """Scores predicted values: Pearson's r, R2 and RMSE (in the targets' unit), each the mean over the outputs.

    r and R2 have no value when an output's targets are constant, r also when its predictions are. Raises
    InputError for empty, mismatched or non-finite arrays.
    """
    predicted, target = _paired(_as_columns(predictions), _as_columns(targets))
    if predicted.shape != target.shape:
        raise InputError(f"{predicted.shape[1]} predicted outputs cannot be scored against {target.shape[1]} targets.")
    if not np.isfinite(target).all():
        raise InputError("Some target values are not finite numbers: leave windows without a target out.")
    _check_finite(predicted)
    values = {"rmse": float(metrics.root_mean_squared_error(target, predicted))}
    missing = undefined("regression", target)
    if not missing:
        values["r2"] = float(metrics.r2_score(target, predicted))
        if np.ptp(predicted, axis=0).min() == 0:
            missing["pearson_r"] = "the predictions of an output are all equal"
        else:
            columns = zip(predicted.T.astype(np.float64), target.T.astype(np.float64), strict=True)
            values["pearson_r"] = float(np.mean([np.corrcoef(p, t)[0, 1] for p, t in columns]))
    return Scores(_ordered("regression", values), missing)


def undefined(task: Task, targets: np.ndarray) -> dict[str, str]:
    """The metrics that say nothing of these targets, whatever is predicted, each with the reason.

    Kappa is among them where all targets are one class: it is 0 then, or has no value.
    """
    targets = np.asarray(targets)
    if task == "regression":
        constant = np.ptp(_as_columns(targets), axis=0).min() == 0
        return dict.fromkeys(("pearson_r", "r2"), "the targets of an output are all equal") if constant else {}
    if len(np.unique(targets)) > 1:
        return {}
    names = ("auroc", "auc_pr") if task == "binary" else ("cohen_kappa", "auroc_ovr")
    return dict.fromkeys(names, f"all {len(targets)} labels are {int(targets.flat[0])}")


def expected_calibration_error(probabilities: Float[np.ndarray, "N classes"], targets: Int[np.ndarray, "N"]) -> float:
    """How far the probability of the likeliest class is from the share of hits, on average over the predictions.

    In 15 bins of equal width from 0 to 1 (Guo et al. 2017, arXiv 1706.04599).
    """
    confidence, hit = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, confidence) - np.bincount(bins, hit)
    return float(np.abs(gaps).sum() / len(targets))


def probabilities_of(logits: Float[np.ndarray, "N outputs"], task: Task) -> Float[np.ndarray, "N outputs"]:
    """Probability of class 1 [N, 1], of every class [N, classes], or the predicted values themselves, in float64."""
    logits = np.asarray(logits, np.float64)
    if task == "binary":
        return expit(logits)
    return softmax(logits, axis=1) if task == "multiclass" else logits


def scorer(task: Task) -> Callable[[np.ndarray, np.ndarray], Scores]:
    """Returns the scoring function of a task, called as (predictions [N, outputs], targets)."""
    return {"binary": binary, "multiclass": multiclass, "regression": regression}[task]


def task_of(outputs: int, regression: bool = False) -> Task:
    """Names the task of a model: one output is binary, several are classes, unless it is a regressor."""
    if regression:
        return "regression"
    return "binary" if outputs == 1 else "multiclass"


def _paired(predictions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(predictions) != len(targets):
        raise InputError(f"{len(predictions)} predictions cannot be scored against {len(targets)} labels.")
    if len(targets) == 0:
        raise InputError("There is nothing to score: no window of this split has a label.")
    return predictions, targets


def _as_columns(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values[:, None] if values.ndim == 1 else values


def _check_finite(predictions: np.ndarray) -> None:
    bad = int(np.size(predictions) - np.isfinite(predictions).sum())
    if bad:
        raise InputError(f"{bad} of {np.size(predictions)} predictions are not finite: the training has diverged.")


def _check_probabilities(probabilities: np.ndarray) -> None:
    _check_finite(probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise InputError(
            f"Predictions from {probabilities.min():g} to {probabilities.max():g} are no probabilities: "
            "apply the sigmoid or softmax to logits first."
        )


def _balanced_accuracy(targets: np.ndarray, predicted: np.ndarray) -> float:
    with warnings.catch_warnings():
        # A predicted class that no target has is common in small splits, and the definition covers it.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        warnings.filterwarnings("ignore", message="A single label was found")
        return float(metrics.balanced_accuracy_score(targets, predicted))


def _of_probabilities(targets: np.ndarray, probabilities: Float[np.ndarray, "N classes"]) -> dict[str, float]:
    """What the probabilities themselves are worth, whichever of them is the largest."""
    # Float32 softmax sums to 1 only to its own rounding, about which scikit-learn would warn.
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    labels = np.arange(probabilities.shape[1])
    return {
        "log_loss": float(metrics.log_loss(targets, probabilities, labels=labels)),
        "brier": float(metrics.brier_score_loss(targets, probabilities, labels=labels)),
        "calibration_error": expected_calibration_error(probabilities, targets),
    }


def _auroc_one_vs_rest(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over the classes that occur of each one's AUROC against all others, unweighted."""
    found = [metrics.roc_auc_score(targets == own, probabilities[:, own]) for own in np.unique(targets)]
    return float(np.mean(found))


def _ordered(task: Task, values: dict[str, float]) -> dict[str, float]:
    return {name: values[name] for name in METRICS[task] if name in values}
