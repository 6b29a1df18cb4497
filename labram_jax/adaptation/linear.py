"""Linear maps of frozen features by scikit-learn: standardised block by block, penalised, and folded back."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression, Ridge

# Windows whose features are scaled at one time, so that no second copy of all of them is made.
_TOGETHER = 4096


class Block(NamedTuple):
    """One kind of features of some windows; where a window lacks them, `present` is False and the values are 0."""

    values: Float[np.ndarray, "N *F"]
    present: Bool[np.ndarray, "N *F"] | None = None


class Scale(NamedTuple):
    """How a block's features become numbers of one size: (value - mean) * factor, and 0 where there is none."""

    mean: Float[np.ndarray, "*F"]
    factor: Float[np.ndarray, "*F"]


class Map(NamedTuple):
    """A linear map of a block's features themselves: sum over them of value * kernel + offset, where present."""

    kernel: Float[np.ndarray, "*F outputs"]
    offset: Float[np.ndarray, "*F outputs"]


class Fit(NamedTuple):
    """What was fitted under one penalty to scaled features."""

    penalty: float
    weights: Float[np.ndarray, "features outputs"]
    bias: Float[np.ndarray, " outputs"]

    def __call__(self, scaled: Float[np.ndarray, "N features"]) -> Float[np.ndarray, "N outputs"]:
        return scaled @ self.weights + self.bias


def scale_of(block: Block) -> Scale:
    """Mean and spread of every feature over the windows that have it, and the variances of all features sum to 1.

    So blocks of unlike size weigh the same under one penalty. Features that never change have a factor of 0.
    """
    whole = np.ones((1,) * block.values.ndim, bool)
    present = np.broadcast_to(whole if block.present is None else block.present, block.values.shape)
    parts = [slice(start, start + _TOGETHER) for start in range(0, len(present), _TOGETHER)]
    count = np.maximum(present.sum(axis=0), 1)
    mean = sum(block.values[own].astype(np.float64).sum(axis=0, where=present[own]) for own in parts) / count
    squares = (np.square(block.values[own] - mean).sum(axis=0, where=present[own]) for own in parts)
    spread = np.sqrt(sum(squares) / count)
    changes = spread > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return Scale(mean, changes / np.where(changes, spread, 1) / np.sqrt(max(1, changes.sum())))


def scaled(blocks: Sequence[Block], scales: Sequence[Scale]) -> Float[np.ndarray, "N features"]:
    """The features of all blocks beside each other, scaled; what a window lacks is 0, the mean."""
    windows, ends = len(blocks[0].values), np.cumsum([scale.mean.size for scale in scales])
    found = np.empty((windows, ends[-1]))
    for block, scale, end in zip(blocks, scales, ends, strict=True):
        for start in range(0, windows, _TOGETHER):
            own = slice(start, start + _TOGETHER)
            values = (block.values[own] - scale.mean) * scale.factor
            values = values if block.present is None else np.where(block.present[own], values, 0)
            found[own, end - scale.mean.size : end] = values.reshape(len(values), -1)
    return found


def folded(fit: Fit, scales: Sequence[Scale]) -> list[Map]:
    """The map of each block's own features that gives what the fit gives of scaled ones, but for its bias."""
    sizes = [scale.mean.size for scale in scales]
    maps = []
    for scale, weights in zip(scales, np.split(fit.weights, np.cumsum(sizes)[:-1]), strict=True):
        kernel = weights.reshape(*scale.mean.shape, -1) * scale.factor[..., None]
        maps.append(Map(kernel, -kernel * scale.mean[..., None]))
    return maps


def logistic_fits(
    features: Float[np.ndarray, "N features"],
    labels: Int[np.ndarray, " N"],
    penalties: Sequence[float],
    balanced: bool = False,
) -> Iterator[Fit]:
    """Logistic regressions that minimise mean cross-entropy + penalty / 2 |weights|^2, the strongest penalty first.

    Two classes have one output, the logit of class 1; more have one each. `balanced` weighs the classes equally.
    """
    model = LogisticRegression(class_weight="balanced" if balanced else None, warm_start=True, max_iter=2000, tol=1e-6)
    for penalty in sorted(penalties, reverse=True):
        model.set_params(C=1 / (penalty * len(features))).fit(features, labels)
        yield Fit(penalty, model.coef_.T.copy(), model.intercept_.copy())


def ridge_fits(
    features: Float[np.ndarray, "N features"], targets: Float[np.ndarray, "N outputs"], penalties: Sequence[float]
) -> Iterator[Fit]:
    """Ridge regressions that minimise mean squared error + penalty |weights|^2, the strongest penalty first."""
    for penalty in sorted(penalties, reverse=True):
        model = Ridge(alpha=penalty * len(features)).fit(features, targets)
        yield Fit(penalty, model.coef_.reshape(targets.shape[1], -1).T, np.reshape(model.intercept_, -1))
