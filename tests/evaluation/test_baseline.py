"""Band powers measure what they say, and the baseline learns what a band power tells."""

import numpy as np
import pytest

from labram_jax.errors import InputError
from labram_jax.evaluation.baseline import (
    BANDS_HZ,
    band_power_baseline,
    evenly_spread,
    fit_and_score,
    has_label,
    log_band_powers,
)


@pytest.mark.parametrize(("frequency", "band"), [(2, "delta"), (9, "low alpha"), (11, "high alpha"), (36, "low gamma")])
@pytest.mark.parametrize("seconds", [1, 4])
def test_power_of_a_sine_falls_into_its_band(frequency, band, seconds):
    eeg = 20 * np.sin(2 * np.pi * frequency * np.arange(200 * seconds) / 200)[None, None]
    powers = np.exp(log_band_powers(eeg))[0, 0]
    assert list(BANDS_HZ)[powers.argmax()] == band
    assert powers.max() == pytest.approx(20**2 / 2, rel=0.35)  # the window function leaks into the neighbours
    assert powers.max() > 4 * np.sort(powers)[-2]


def band_powers(corpus):
    return band_power_baseline([corpus.windows("train", 2)], [corpus.windows("test", 2)], classes=2)


def test_a_flat_electrode_has_finite_power():
    assert np.isfinite(log_band_powers(np.zeros((1, 2, 400)))).all()


def test_baseline_learns_alpha_and_reports_every_test_window(alpha_corpus):
    baseline = band_powers(alpha_corpus())
    assert baseline.scores["auroc"] > 0.95
    assert baseline.predictions.shape == (12, 1)
    assert baseline.powers.shape == (12, 8, len(BANDS_HZ))
    assert baseline.labels.tolist() == [0, 1] * 6
    assert baseline.train_windows == 24


def test_montages_meet_in_their_shared_electrodes(alpha_corpus):
    montages = (("FP1", "O1", "O2", "CZ"), ("O2", "FPZ", "O1"))
    baseline = band_powers(alpha_corpus("mixed", montages))
    assert sorted(baseline.electrodes) == ["O1", "O2"]
    assert baseline.train_windows == 48
    assert baseline.scores["auroc"] > 0.9
    with pytest.raises(InputError, match="share no electrode"):
        band_powers(alpha_corpus("apart", (("FP1", "O1"), ("C3", "C4", "CZ"))))


def test_bad_electrodes_count_as_the_mean(alpha_corpus):
    baseline = band_powers(alpha_corpus("bad", bads=["CZ"]))
    assert np.isnan(baseline.powers[:, 4]).all() and np.isfinite(np.delete(baseline.powers, 4, axis=1)).all()
    assert baseline.scores["auroc"] > 0.95


def test_a_class_absent_from_training_gets_no_probability():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(40, 3)), np.repeat([0, 2], 20)
    probabilities, scores = fit_and_score(features, labels, features, np.tile([0, 1, 2, 2], 10), classes=3)
    assert probabilities.shape == (40, 3)
    assert (probabilities[:, 1] == 0).all()
    assert np.isfinite(list(scores.values())).all()
    with pytest.raises(InputError, match="two classes"):
        fit_and_score(features, np.zeros(40, dtype=int), features, labels, classes=3)


def test_targets_are_regressed():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 4))
    targets = features @ generator.normal(size=(4, 2))
    predictions, scores = fit_and_score(features[:40], targets[:40], features[40:], targets[40:], classes=0)
    assert predictions.shape == (20, 2)
    assert scores["r2"] > 0.9


def test_labels_and_spread():
    assert has_label(0) and has_label(np.array([-1.5, 2.0]))
    assert not has_label(-1) and not has_label(None) and not has_label(np.array([1.0, np.nan]))
    assert evenly_spread(range(10), 1.0) == list(range(10))
    assert evenly_spread(range(11), 0.3) == [0, 5, 10]
