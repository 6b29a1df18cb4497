"""Shares of variance of made-up features are those with which they were made."""

import numpy as np
import pytest

from labram_jax.evaluation.variance import FACTORS, Factors, label_alone, shares, shuffled_shares


def crossed(subjects=12, classes=2, windows=40) -> Factors:
    """Each subject has a recording of each class, as EEGMAT has."""
    recording = np.repeat(np.arange(subjects * classes), windows)
    starts = np.tile(4.0 * np.arange(windows), subjects * classes)
    return Factors(recording // classes, recording, np.eye(classes)[recording % classes], starts)


def made(factors: Factors, seed=0, features=300, **variances: float) -> np.ndarray:
    """Independent features with effects of these variances, and noise of variance 1."""
    generator = np.random.default_rng(seed)
    groups = {"subject": factors.subjects, "recording": factors.recordings, "label": factors.labels.argmax(axis=1)}
    values = generator.standard_normal((len(factors.subjects), features))
    for name, variance in variances.items():
        own = groups[name]
        effects = generator.standard_normal((own.max() + 1, features))
        if name == "label":  # whose variance over two classes is known
            effects = np.sign(effects[:1]) * np.array([[-1], [1]])
        values += np.sqrt(variance) * effects[own]
    return values - values.mean(axis=0)


def test_shares_are_those_that_features_were_made_with():
    factors = crossed()
    found = shares(made(factors, subject=2.0, label=1.0), factors)
    assert tuple(found) == FACTORS and sum(found.values()) == pytest.approx(1)
    # Of 2 x 11/12 between twelve subjects, 1 and 1; eta squared of the rest is what its groups take of the noise.
    total = 2 * 11 / 12 + 1 + 1
    assert found["subject"] == pytest.approx(2 * 11 / 12 / total, abs=0.02)
    assert found["label"] == pytest.approx(1 / total, abs=0.01) and found["recording"] < 0.01
    assert label_alone(made(factors, subject=2.0, label=1.0), factors) == pytest.approx(found["label"], abs=1e-9)


def test_each_factor_is_seen_only_where_it_is():
    """Above its own shuffles, by much; else as they are."""
    factors = crossed()
    for own in ("subject", "label", "recording"):
        features = made(factors, **{own: 1.0})
        found, shuffled = shares(features, factors), shuffled_shares(features, factors, seed=0)
        assert shuffled.keys() == {"subject", "label", "recording"}
        for name, share in found.items():
            if name == own:
                assert share > shuffled[name] + 0.2, (own, name)
            elif name != "window":
                assert share < shuffled[name] + 0.05, (own, name)


def test_few_recordings_look_like_subjects_and_shuffles_tell():
    """Two recordings of each subject that differ for whatever reason: half of that lies between subjects."""
    factors = crossed()
    features = made(factors, recording=1.0)
    assert shares(features, factors)["subject"] > 0.2
    assert shuffled_shares(features, factors, 0)["subject"] == pytest.approx(
        shares(features, factors)["subject"], abs=0.03
    )


def test_unlike_shares_of_classes_are_not_taken_for_subjects_labels():
    """A subject with more of one class: its mean moves with the label, which alone explains more than within them."""
    generator = np.random.default_rng(0)
    subjects = np.repeat([0, 1], 200)
    classes = (generator.random(400) < np.where(subjects == 0, 0.2, 0.8)).astype(int)
    factors = Factors(subjects, subjects, np.eye(2)[classes], np.arange(400.0))
    features = made(factors, subject=4.0)
    assert label_alone(features, factors) > 0.1 > 0.02 > shares(features, factors)["label"]


def test_labels_between_subjects_come_first():
    """Each subject has one label and two recordings, as in TUAB: subjects of one label differ, labels do not."""
    recordings = np.repeat(np.arange(24), 20)
    subjects = recordings // 2
    factors = Factors(subjects, recordings, np.eye(2)[subjects % 2], np.tile(np.arange(20.0), 24))
    assert not factors.crossed
    features = made(factors, subject=1.0)
    found, shuffled = shares(features, factors), shuffled_shares(features, factors, 0)
    assert sum(found.values()) == pytest.approx(1) and found["subject"] == pytest.approx(0.43, abs=0.05)
    assert found["label"] == pytest.approx(shuffled["label"], abs=0.02) and found["label"] > 0.02
    assert shuffled["subject"] < found["subject"] - 0.15
    labelled = made(factors, label=1.0)
    assert shares(labelled, factors)["label"] > shuffled_shares(labelled, factors, 0)["label"] + 0.3


def test_labels_within_recordings_are_turned_in_time():
    """Slow drifts and slow blocks of labels go together by chance, which shuffling single windows would not show."""
    times = np.arange(120.0)
    recordings = np.repeat(np.arange(6), 120)
    labels = np.tile((times // 30 % 2).astype(int), 6)
    factors = Factors(recordings, recordings, np.eye(2)[labels], np.tile(times, 6))
    drifts = np.cumsum(np.random.default_rng(0).standard_normal((720, 200)), axis=0)
    features = drifts - drifts.mean(axis=0)
    found, shuffled = shares(features, factors), shuffled_shares(features, factors, 0)
    assert shuffled.keys() == {"label"}  # of every subject there is one recording
    generator = np.random.default_rng(0)
    order = np.concatenate([120 * own + generator.permutation(120) for own in range(6)])
    singly = shares(features, factors._replace(labels=factors.labels[order]))["label"]
    assert singly < shuffled["label"] / 2 < found["label"] < 3 * shuffled["label"]
    assert found == shares(features, factors) and shuffled == shuffled_shares(features, factors, 0)


def test_targets_of_a_regression_explain_what_moves_with_them():
    generator = np.random.default_rng(0)
    targets = generator.standard_normal((400, 1))
    subjects = np.arange(400) // 50
    factors = Factors(subjects, subjects, targets, np.arange(400.0))
    features = generator.standard_normal((400, 100)) + targets
    found = shares(features - features.mean(axis=0), factors)
    assert found["label"] == pytest.approx(0.5, abs=0.05) and found["subject"] < 0.05


def test_features_that_never_change_have_no_variance_to_share():
    factors = crossed(subjects=2, windows=3)
    assert shares(np.zeros((12, 5)), factors) == dict.fromkeys(FACTORS, 0.0)
