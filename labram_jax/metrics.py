"""Scores of predictions, by scikit-learn, under the definitions that the published results use."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from sklearn import metrics

from labram_jax.errors import InputError

OneClass = Literal["omit", "zero"]
Task = Literal["binary", "multiclass", "regression"]


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
    """Scores the probability of class 1: balanced accuracy, accuracy (threshold >= 0.5), AUROC, AUC-PR, log loss.

    With one class alone among the targets AUROC and AUC-PR say nothing: "omit" leaves them out with the reason,
    "zero" is the reference's rule, which sets all four of its metrics to 0. Raises InputError for empty or
    mismatched arrays and for values that are no probabilities.
    """
    probability, target = _paired(np.asarray(probabilities).reshape(-1), np.asarray(targets).reshape(-1))
    _check_probabilities(probability)
    if not np.isin(target, (0, 1)).all():
        raise InputError("A binary score needs labels 0 and 1; leave windows without a label out.")
    predicted = (probability >= 0.5).astype(np.int64)
    values = {"log_loss": _log_loss(target, probability, classes=2)}
    if len(np.unique(target)) == 1:
        if one_class == "zero":
            return Scores(values | dict.fromkeys(("balanced_accuracy", "accuracy", "auroc", "auc_pr"), 0.0))
        reason = f"all {len(target)} labels are {int(target[0])}"
        undefined = {"auroc": reason, "auc_pr": reason}
    else:
        values["auroc"] = float(metrics.roc_auc_score(target, probability))
        values["auc_pr"] = float(metrics.average_precision_score(target, probability))
        undefined = {}
    values["balanced_accuracy"] = _balanced_accuracy(target, predicted)
    values["accuracy"] = float(metrics.accuracy_score(target, predicted))
    return Scores(_ordered(values, "balanced_accuracy", "auroc", "auc_pr", "accuracy", "log_loss"), undefined)


def multiclass(probabilities: Float[np.ndarray, "N classes"], targets: Int[np.ndarray, "N"]) -> Scores:
    """Scores the likeliest class: balanced accuracy, unweighted Cohen's kappa, weighted F1, accuracy, log loss.

    Balanced accuracy is the mean recall over the classes that occur among the targets. Kappa has no value when
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
        "log_loss": _log_loss(target, probability, classes),
    }
    undefined = {}
    if len(np.unique(np.concatenate([target, predicted]))) == 1:
        undefined["cohen_kappa"] = f"all labels and predictions are class {int(target[0])}"
    else:
        values["cohen_kappa"] = float(metrics.cohen_kappa_score(target, predicted))
    names = ("balanced_accuracy", "cohen_kappa", "weighted_f1", "accuracy", "log_loss")
    return Scores(_ordered(values, *names), undefined)


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
    undefined = {}
    if np.ptp(target, axis=0).min() == 0:
        undefined = dict.fromkeys(("pearson_r", "r2"), "the targets of an output are all equal")
    else:
        values["r2"] = float(metrics.r2_score(target, predicted))
        if np.ptp(predicted, axis=0).min() == 0:
            undefined["pearson_r"] = "the predictions of an output are all equal"
        else:
            columns = zip(predicted.T.astype(np.float64), target.T.astype(np.float64), strict=True)
            values["pearson_r"] = float(np.mean([np.corrcoef(p, t)[0, 1] for p, t in columns]))
    return Scores(_ordered(values, "pearson_r", "r2", "rmse"), undefined)


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


def _log_loss(targets: np.ndarray, probabilities: np.ndarray, classes: int) -> float:
    if probabilities.ndim == 1:
        probabilities = np.stack([1 - probabilities, probabilities], axis=1)
    # Float32 softmax sums to 1 only to its own rounding, about which scikit-learn would warn.
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    return float(metrics.log_loss(targets, probabilities, labels=np.arange(classes)))


def _ordered(values: dict[str, float], *names: str) -> dict[str, float]:
    return {name: values[name] for name in names if name in values}
