"""Directions of subjects of made-up features, and what is left without them."""

import numpy as np
import pytest

from labram_jax.evaluation.subjects import less_own_means, subject_directions, told_apart
from labram_jax.evaluation.variance import Factors, means_of, shares


def people(subjects=6, windows=40, features=30, fingerprint=3.0, seed=0, shares_of_one=None):
    """Features with a fingerprint for each subject, and a class that moves feature 0 by 2."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(subjects), windows)
    one = np.full(subjects, 0.5) if shares_of_one is None else np.asarray(shares_of_one)
    classes = (generator.random(len(owners)) < one[owners]).astype(int)
    values = generator.standard_normal((len(owners), features))
    values += fingerprint * generator.standard_normal((subjects, features))[owners]
    values[:, 0] += 2 * classes
    starts = np.tile(np.arange(float(windows)), subjects)
    return values, Factors(owners, owners, np.eye(2)[classes], starts)


def test_without_their_directions_subjects_do_not_differ_and_labels_do():
    values, factors = people()
    directions = subject_directions(values, factors)
    assert len(directions.basis) == 5 and directions.held == pytest.approx(1)
    np.testing.assert_allclose(directions.basis @ directions.basis.T, np.eye(5), atol=1e-9)
    left = directions.removed_from(values)
    before, after = (shares(own - own.mean(axis=0), factors) for own in (values, left))
    assert before["subject"] > 0.8 and after["subject"] < 0.01 and after["label"] > 4 * before["label"]


def test_unlike_shares_of_classes_make_no_direction():
    """Else the direction of the label would go with the subjects."""
    values, factors = people(fingerprint=0.0, windows=400, shares_of_one=(0.1, 0.3, 0.5, 0.5, 0.7, 0.9))
    left = subject_directions(values, factors).removed_from(values)
    classes = factors.labels.argmax(axis=1)
    by_class = means_of(left, classes)
    assert by_class[1, 0] - by_class[0, 0] > 1.5
    plain = means_of(values, factors.subjects)
    plain = np.linalg.svd(plain - plain.mean(axis=0), full_matrices=False)[2][:5]
    by_class = means_of(values - values @ plain.T @ plain, classes)
    assert by_class[1, 0] - by_class[0, 0] < 0.2


def test_at_most_half_of_the_dimensions_go():
    values, factors = people(subjects=40, windows=10, features=20)
    directions = subject_directions(values, factors)
    assert len(directions.basis) == 10 and 0.5 < directions.held < 0.95


def test_subjects_are_told_apart_by_their_fingerprints_alone():
    values, factors = people()
    assert told_apart(values, factors, 0) > 0.95
    values, factors = people(fingerprint=0.0)
    assert told_apart(values, factors, 0) < 0.35
    assert told_apart(values[:40], Factors(*(own[:40] for own in factors)), 0) is None
    few = [0, 40, 41, 80, 81, 82]
    factors = Factors(factors.subjects[few], factors.recordings[few], factors.labels[few], factors.starts[few])
    assert told_apart(values[few], Factors(np.array([0, 1, 1, 2, 2, 2]), *factors[1:]), 0) is None


def test_time_decides_what_is_held_out():
    """A fingerprint that only the last third has cannot be learnt, in whatever order windows come."""
    values, factors = people(fingerprint=0.0)
    late = factors.starts >= 27
    values[late] += 5 * np.eye(6)[factors.subjects][late] @ np.random.default_rng(1).standard_normal((6, 30))
    order = np.random.default_rng(2).permutation(len(values))
    assert told_apart(values[order], Factors(*(own[order] for own in factors)), 0) < 0.5


def test_own_means_are_taken_away():
    values, factors = people()
    np.testing.assert_allclose(means_of(less_own_means(values, factors), factors.subjects), 0, atol=1e-9)
