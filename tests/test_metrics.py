"""Metrics equal the official evaluation's, and say why where data define none."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score

from labram_jax import metrics
from labram_jax.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
OFFICIAL_NAMES = {
    "pr_auc": "auc_pr",
    "roc_auc": "auroc",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "cohen_kappa": "cohen_kappa",
    "f1_weighted": "weighted_f1",
}


@pytest.fixture(scope="module")
def golden():
    arrays = np.load(GOLDEN / "schedules_metrics_losses.npz")
    expected = json.loads((GOLDEN / "schedules_metrics.json").read_text())["metrics"]
    return arrays, {
        case: {OFFICIAL_NAMES[name]: value for name, value in values.items()} for case, values in expected.items()
    }


@pytest.mark.parametrize("case", ["binary", "binary_ties"])
def test_binary_scores_equal_the_official_ones(golden, case):
    arrays, expected = golden
    scores = metrics.binary(arrays[f"metrics/{case}/prob"], arrays[f"metrics/{case}/target"].astype(int))
    assert not scores.undefined
    for name, value in expected[case].items():
        assert scores.values[name] == pytest.approx(value, abs=1e-12), name


@pytest.mark.parametrize("case", ["multi", "multi_missing_class"])
def test_multiclass_scores_equal_the_official_ones(golden, case):
    arrays, expected = golden
    probabilities = softmax(arrays[f"metrics/{case}/logits"], axis=1)
    scores = metrics.multiclass(probabilities, arrays[f"metrics/{case}/target"])
    for name, value in expected[case].items():
        assert scores.values[name] == pytest.approx(value, abs=1e-12), name


def test_one_class_is_omitted_with_a_reason_or_zero_as_in_the_reference(golden):
    arrays, expected = golden
    probability = arrays["metrics/binary_one_class/prob"]
    target = arrays["metrics/binary_one_class/target"].astype(int)
    official = metrics.binary(probability, target, one_class="zero").values
    assert {name: official[name] for name in expected["binary_one_class"]} == expected["binary_one_class"]
    mended = metrics.binary(probability, target)
    assert set(mended.undefined) == {"auroc", "auc_pr"}
    assert "all 17 labels are" in mended.undefined["auroc"]
    assert mended.values["accuracy"] == np.mean((probability[:, 0] >= 0.5) == target[:, 0])
    assert all(np.isfinite(value) for value in mended.values.values())


def test_log_loss_equals_cross_entropy_of_the_logits(golden):
    arrays, _ = golden
    logits, target = arrays["losses/logits"], arrays["losses/target"]
    scores = metrics.multiclass(softmax(logits, axis=1), target)
    assert scores.values["log_loss"] == pytest.approx(float(arrays["losses/label_smoothing_0.0"]), rel=1e-5)
    binary = metrics.binary(expit(arrays["losses/bce_logits"]), arrays["losses/bce_target"].astype(int))
    assert binary.values["log_loss"] == pytest.approx(float(arrays["losses/bce_value"]), rel=1e-5)


def test_calibration_is_that_of_the_bins():
    """Four predictions of .9, three right; two of .6, none right: gaps of .15 and .6, weighed by their numbers."""
    probability, target = np.array([0.9] * 4 + [0.6] * 2), np.array([1, 1, 1, 0, 0, 0])
    values = metrics.binary(probability, target).values
    assert values["calibration_error"] == pytest.approx((4 * 0.15 + 2 * 0.6) / 6)
    assert values["brier"] == pytest.approx(np.mean((probability - target) ** 2))
    both = metrics.multiclass(np.stack([1 - probability, probability], axis=1), target).values
    assert both["calibration_error"] == pytest.approx(values["calibration_error"])
    three = metrics.multiclass(np.array([[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]), np.array([0, 1])).values
    assert three["brier"] == pytest.approx((0.5**2 + 0.3**2 + 0.2**2) / 2)
    assert three["calibration_error"] == pytest.approx(0.25)


def test_logits_become_what_is_scored():
    logits = np.array([[40.0], [-40.0], [0.0]], np.float32)
    found = metrics.probabilities_of(logits, "binary")
    assert found.dtype == np.float64 and found[:, 0].tolist() == expit(logits[:, 0].astype(float)).tolist()
    assert metrics.probabilities_of(np.zeros((1, 4)), "multiclass").tolist() == [[0.25] * 4]
    assert metrics.probabilities_of(logits, "regression").tolist() == logits.tolist()


@pytest.mark.parametrize("task", metrics.METRICS)
def test_every_task_has_the_metrics_that_it_says(task):
    targets = np.array([0.0, 1.0, 2.0]) if task == "regression" else np.array([0, 1, 0])
    predictions = np.array([0.2, 0.7, 0.4]) if task != "multiclass" else np.array([[0.5, 0.5], [0.1, 0.9], [0.8, 0.2]])
    found = metrics.scorer(task)(predictions, targets)
    assert tuple(found.values) == metrics.METRICS[task] and not found.undefined


def test_auroc_of_several_classes_is_that_of_each_against_the_rest():
    random = np.random.default_rng(0)
    probability, target = softmax(random.standard_normal((60, 3)), axis=1), random.integers(0, 3, 60)
    expected = roc_auc_score(target, probability, multi_class="ovr", average="macro")
    assert metrics.multiclass(probability, target).values["auroc_ovr"] == pytest.approx(expected)
    two = target < 2  # a class that does not occur says nothing
    each = [roc_auc_score(target[two] == own, probability[two, own]) for own in (0, 1)]
    assert metrics.multiclass(probability[two], target[two]).values["auroc_ovr"] == pytest.approx(np.mean(each))


def test_kappa_of_one_class_throughout_has_no_value():
    scores = metrics.multiclass(np.eye(3)[[1, 1, 1]], np.array([1, 1, 1]))
    assert "cohen_kappa" not in scores.values
    assert "class 1" in scores.undefined["cohen_kappa"]
    assert scores.values["accuracy"] == 1.0


def test_regression_scores_of_known_values():
    target = np.array([[0.0, 10.0], [1.0, 20.0], [2.0, 30.0]])
    scores = metrics.regression(target + np.array([[1.0, 0.0]]), target).values
    assert scores["pearson_r"] == pytest.approx(1.0)
    assert scores["rmse"] == pytest.approx(0.5)  # mean of 1 and 0
    assert scores["r2"] == pytest.approx((-0.5 + 1.0) / 2)
    flipped = metrics.regression(-target[:, 0], target[:, 0]).values
    assert flipped["pearson_r"] == pytest.approx(-1.0)


def test_constant_targets_leave_r2_and_pearson_out():
    scores = metrics.regression(np.array([1.0, 2.0]), np.array([3.0, 3.0]))
    assert set(scores.undefined) == {"pearson_r", "r2"}
    assert set(scores.values) == {"rmse"}
    assert set(metrics.regression(np.array([1.0, 1.0]), np.array([3.0, 4.0])).undefined) == {"pearson_r"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.binary(np.array([0.1, 0.2]), np.array([1])), "2 predictions"),
        (lambda: metrics.binary(np.array([]), np.array([])), "nothing to score"),
        (lambda: metrics.binary(np.array([np.nan, 0.2]), np.array([0, 1])), "not finite"),
        (lambda: metrics.binary(np.array([-3.0, 4.0]), np.array([0, 1])), "no probabilities"),
        (lambda: metrics.binary(np.array([0.3, 0.4]), np.array([0, -1])), "without a label"),
        (lambda: metrics.multiclass(np.eye(3), np.array([0, 1, 3])), "3 classes"),
        (lambda: metrics.regression(np.zeros((2, 2)), np.zeros((2, 3))), "2 predicted outputs"),
    ],
)
def test_what_cannot_be_scored_is_said(call, words):
    with pytest.raises(InputError, match=words):
        call()
