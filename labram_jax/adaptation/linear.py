"""Linear maps of frozen features by scikit-learn: standardised block by block, penalised, and folded back."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.linear_model import LogisticRegression, Ridge


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
    values = block.values.astype(np.float64)
    present = np.ones(values.shape, bool) if block.present is None else np.broadcast_to(block.present, values.shape)
    count = np.maximum(present.sum(axis=0), 1)
    mean = values.sum(axis=0, where=present) / count
    spread = np.sqrt(np.square(values - mean).sum(axis=0, where=present) / count)
    changes = spread > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return Scale(mean, changes / np.where(changes, spread, 1) / np.sqrt(max(1, changes.sum())))


def scaled(blocks: Sequence[Block], scales: Sequence[Scale]) -> Float[np.ndarray, "N features"]:
    """The features of all blocks beside each other, scaled; what a window lacks is 0, the mean."""
    columns = []
    for block, scale in zip(blocks, scales, strict=True):
        values = (block.values - scale.mean) * scale.factor
        values = values if block.present is None else np.where(block.present, values, 0)
        columns.append(values.reshape(len(values), -1))
    return np.concatenate(columns, axis=1)


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
