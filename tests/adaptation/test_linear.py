"""Standardised fits, folded back onto the features themselves, against scikit-learn's own pipeline."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from labram_jax.adaptation.linear import Block, folded, logistic_fits, ridge_fits, scale_of, scaled

RANDOM = np.random.default_rng(0)
FEATURES = 100 + RANDOM.standard_normal((60, 6)) * np.array([1, 10, 0.1, 1, 1, 0])
LABELS = (FEATURES[:, 1] + 5 * RANDOM.standard_normal(60) > 100).astype(int)


def values_of(fit, scales, blocks) -> np.ndarray:
    """What the folded maps give of the blocks themselves."""
    total = fit.bias
    for own, block in zip(folded(fit, scales), blocks, strict=True):
        parts = block.values[..., None] * own.kernel + own.offset
        parts = parts if block.present is None else np.where(block.present[..., None], parts, 0)
        total = total + parts.reshape(len(parts), -1, parts.shape[-1]).sum(axis=1)
    return total


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_a_probe_is_what_scikit_learn_fits_to_standardised_features(classes, balanced):
    labels = LABELS if classes == 2 else np.digitize(FEATURES[:, 1], [95, 105])
    blocks = [Block(FEATURES)]
    scales = [scale_of(block) for block in blocks]
    penalties = (1e-3, 1.0)
    fits = list(logistic_fits(scaled(blocks, scales), labels, penalties, balanced))
    assert [fit.penalty for fit in fits] == [1.0, 1e-3]
    weights = "balanced" if balanced else None
    for fit in fits:
        # Five features change, and have a variance of 1/5 each.
        own = LogisticRegression(C=1 / (5 * fit.penalty * 60), class_weight=weights, max_iter=9999, tol=1e-8)
        expected = make_pipeline(StandardScaler(), own).fit(FEATURES, labels).decision_function(FEATURES)
        np.testing.assert_allclose(values_of(fit, scales, blocks), expected.reshape(60, -1), atol=2e-3)


def test_vectors_are_regressed_as_scikit_learn_does():
    targets = np.stack([FEATURES[:, 0] - 100, 3 * FEATURES[:, 3]], axis=1)
    blocks = [Block(FEATURES)]
    scales = [scale_of(block) for block in blocks]
    for fit in ridge_fits(scaled(blocks, scales), targets, (0.01, 10.0)):
        own = make_pipeline(StandardScaler(), Ridge(alpha=5 * 60 * fit.penalty)).fit(FEATURES, targets)
        np.testing.assert_allclose(values_of(fit, scales, blocks), own.predict(FEATURES), atol=1e-6)


def test_blocks_of_unlike_size_weigh_the_same():
    """Each block's variances sum to 1, whatever its features' units and number."""
    blocks = [Block(RANDOM.standard_normal((500, 40)) * 1e3), Block(RANDOM.standard_normal((500, 2)))]
    scales = [scale_of(block) for block in blocks]
    variances = scaled(blocks, scales).var(axis=0)
    np.testing.assert_allclose([variances[:40].sum(), variances[40:].sum()], 1, rtol=1e-6)


def test_what_a_window_lacks_counts_as_the_mean():
    """Whatever stands in its place; mean and spread are those of the windows that have it."""
    present = np.ones((60, 3, 1), bool)
    present[::2, 1] = False
    values = FEATURES.reshape(60, 3, 2)
    blocks = [Block(np.where(present, values, 0), present)]
    scales = [scale_of(block) for block in blocks]
    np.testing.assert_allclose(scales[0].mean[1], values[1::2, 1].mean(axis=0))
    seen = scaled(blocks, scales)
    assert not seen.reshape(60, 3, 2)[::2, 1].any() and seen.reshape(60, 3, 2)[1::2, 1, 0].all()
    (fit,) = logistic_fits(seen, LABELS, (0.01,))
    np.testing.assert_allclose(values_of(fit, scales, blocks), fit(seen), atol=1e-8)
