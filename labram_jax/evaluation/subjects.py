"""Whose features are: the directions in which subjects differ, features without them, and how well subjects are told
apart."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline

from labram_jax.evaluation.variance import Factors, means_of, slopes

# Of each recording, in time: what tells subjects apart is fitted to the first part, and tested on the rest.
FITTED_SHARE = 2 / 3
_COMPONENTS = 100


class Directions(NamedTuple):
    """Orthonormal directions in which subjects differ most, and what share of the variance between them they hold."""

    basis: Float[np.ndarray, "directions F"]
    held: float

    def removed_from(self, features: Float[np.ndarray, "N F"]) -> Float[np.ndarray, "N F"]:
        """Features less all that lies in these directions."""
        return features - (features @ self.basis.T) @ self.basis


def subject_directions(features: Float[np.ndarray, "N F"], factors: Factors) -> Directions:
    """The span of the subjects' mean features, or its strongest directions, at most half of those that features have.

    What goes with labels inside subjects is taken out of the means first, so that unlike shares of the classes make no
    direction. Where labels lie between subjects they cannot be told from them, and go with them.
    """
    by_label = slopes(features, factors.labels, factors.subjects)
    counts = np.bincount(factors.subjects)[:, None]
    means = means_of(features, factors.subjects) - means_of(factors.labels, factors.subjects) @ by_label
    means = np.sqrt(counts) * (means - (counts * means).sum(axis=0) / counts.sum())
    _, strengths, basis = np.linalg.svd(means, full_matrices=False)
    count = int((strengths > 1e-6 * max(strengths[0], 1e-6)).sum())
    kept = min(count, int(np.ptp(features, axis=0).astype(bool).sum()) // 2)
    return Directions(basis[:kept], float(np.square(strengths[:kept]).sum() / max(np.square(strengths).sum(), 1e-12)))


def less_own_means(features: Float[np.ndarray, "N F"], factors: Factors) -> Float[np.ndarray, "N F"]:
    """Each subject's windows less their mean: transductive, since it takes all of a subject's windows to know one's."""
    return features - means_of(features, factors.subjects)[factors.subjects]


def told_apart(features: Float[np.ndarray, "N F"], factors: Factors, seed: int) -> float | None:
    """How often a linear map knows whose a window is: accuracy, the mean over subjects, by chance 1 / subjects.

    Fitted to the first two thirds of each recording and tested on its last third: linear discriminants with shrunk
    covariance (Ledoit and Wolf) of at most 100 principal components. None where there is one subject, or recordings are
    too short.
    """
    early = np.zeros(len(features), bool)
    for recording in range(len(factors.owners)):
        own = np.flatnonzero(factors.recordings == recording)
        own = own[np.argsort(factors.starts[own], kind="stable")]
        early[own[: round(FITTED_SHARE * len(own))]] = True
    subjects = factors.subjects
    everybody = set(subjects)
    if len(everybody) < 2 or not everybody == set(subjects[early]) == set(subjects[~early]):
        return None
    components = min(_COMPONENTS, early.sum() - 1, features.shape[1])
    model = make_pipeline(
        PCA(components, random_state=seed), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    ).fit(features[early], subjects[early])
    return float(balanced_accuracy_score(subjects[~early], model.predict(features[~early])))
