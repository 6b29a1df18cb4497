"""Intervals over subjects: every metric of a resample is that of its windows written out one after another."""

import numpy as np
import pytest
from test_predictions import table

from labram_jax import metrics
from labram_jax.evaluation.bootstrap import intervals, resampled
from labram_jax.evaluation.predictions import PredictionTable


def made(task: str) -> PredictionTable:
    """60 windows of 6 subjects; scores are coarse, so that many are tied."""
    generator = np.random.default_rng(0)
    subjects = [f"s{number}" for number in np.sort(generator.integers(0, 6, 60))]
    if task == "regression":
        labels = generator.normal(size=(60, 2)) + 5
        return table(labels, labels + generator.normal(size=(60, 2)), subjects, task=task)
    labels = generator.integers(0, 2 if task == "binary" else 3, 60)
    outputs = generator.integers(1, 8, (60, 1 if task == "binary" else 3)).astype(float)
    outputs /= 8 if task == "binary" else outputs.sum(axis=1, keepdims=True)
    return table(labels, outputs, subjects, task=task, classes=())


@pytest.mark.parametrize("task", metrics.METRICS)
def test_a_resample_is_scored_as_if_it_were_written_out(task):
    own = made(task)
    weights = np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), size=8)
    found = resampled(own, weights)
    for number, drawn in enumerate(weights):
        rows = np.concatenate([np.repeat(np.flatnonzero(own.subjects == s), times) for s, times in enumerate(drawn)])
        expected = PredictionTable(own.frame.iloc[rows].reset_index(drop=True), task).scores().values
        assert {name: found[name][number] for name in expected} == pytest.approx(expected, rel=1e-9), number
    assert set(metrics.METRICS[task]) <= set(found)


def test_resamples_without_a_value_are_none_of_the_interval():
    """Each subject has one class: areas have a value where both are drawn, which is half of the resamples of two."""
    three = table([0, 0, 1, 1, 1], [[0.1], [0.3], [0.2], [0.6], [0.9]], "aabbc")
    alone = resampled(three, np.array([[2, 0, 0], [1, 1, 1]]))
    classes = table([0, 1, 2, 2], np.eye(3)[[0, 1, 2, 0]], "aabb", task="multiclass", classes=())
    several = resampled(classes, np.array([[2, 0], [0, 2], [1, 1]]))["auroc_ovr"]  # two of three, one alone, all
    assert several[0] == 1 and np.isnan(several[1]) and several[2] == pytest.approx((5 / 6 + 1 + 0.75) / 3)
    assert np.isnan(alone["auroc"][0]) and np.isnan(alone["auc_pr"][0]) and alone["accuracy"].tolist() == [1, 0.8]
    found = intervals(three, seed=0)
    assert 0.5 <= found["auroc"].low < found["auroc"].high == 1
    assert set(intervals(table([0, 1], [[0.1], [0.9]], "aa"), seed=0)) == set()


def test_the_seed_decides_and_the_predictions_do_not():
    own, again = made("binary"), made("binary")
    assert intervals(own, 3) == intervals(again, 3) != intervals(own, 4)
    better = intervals(own.with_outputs(np.eye(2)[own.labels]), 3)
    assert better["auroc"].low == better["auroc"].high == 1


def test_an_interval_is_as_wide_as_subjects_differ():
    """Of 40 subjects with one window each, 3/4 right, the share of hits deviates by .068."""
    right = np.arange(40) % 4 > 0
    own = table(np.ones(40, int), np.where(right, 0.9, 0.1)[:, None], [*map(str, range(40))])
    found = intervals(own, seed=0)["accuracy"]
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 40), rel=0.1)
