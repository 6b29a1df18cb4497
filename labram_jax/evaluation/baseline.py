"""The baseline beside every classifier: logistic regression on log band powers, as the field has long done it."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.signal import welch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from labram_jax import metrics
from labram_jax.config import SAMPLE_RATE
from labram_jax.data.views import Windows
from labram_jax.errors import InputError
from labram_jax.progress import Progress

BANDS_HZ = {
    "delta": (1.0, 4.0),
    "theta": (4.0, 8.0),
    "low alpha": (8.0, 10.0),
    "high alpha": (10.0, 13.0),
    "low beta": (13.0, 20.0),
    "high beta": (20.0, 30.0),
    "low gamma": (30.0, 45.0),
}
# Below any recording's noise: it only keeps the logarithm of a flat electrode finite.
_FLOOR = 1e-6
# Enough for 7 powers of some dozen electrodes; beyond that the fit only grows slower.
MAX_TRAIN_WINDOWS = 20_000


@dataclass(frozen=True)
class Baseline:
    """The baseline's predictions on the test windows, their labels and band powers (natural logarithm), its scores.

    The powers of bad electrodes are NaN.
    """

    predictions: Float[np.ndarray, "N outputs"]
    powers: Float[np.ndarray, "N C 7"]
    labels: np.ndarray
    scores: dict[str, float]
    electrodes: tuple[str, ...]
    train_windows: int


def log_band_powers(eeg: Float[np.ndarray, "N C samples"], rate: float = SAMPLE_RATE) -> Float[np.ndarray, "N C 7"]:
    """Returns the natural logarithm of the power in seven bands from 1 to 45 Hz, in microvolts squared.

    `eeg` in microvolts. Welch's method with segments of 2 s (or the window, if shorter), half overlapping.
    """
    frequencies, density = welch(eeg.astype(np.float32), rate, nperseg=min(eeg.shape[-1], int(2 * rate)), axis=-1)
    step = frequencies[1] - frequencies[0]
    powers = [
        density[..., (frequencies >= low) & (frequencies < high)].sum(axis=-1) * step for low, high in BANDS_HZ.values()
    ]
    return np.log(np.stack(powers, axis=-1) + _FLOOR)


def classifier() -> Pipeline:
    """Standardised features into a logistic regression that weighs the classes equally; NaN counts as the mean."""
    return make_pipeline(_imputer(), StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=2000))


def _imputer() -> SimpleImputer:
    return SimpleImputer(keep_empty_features=True)


def fit_and_score(
    train: Float[np.ndarray, "N features"],
    train_labels: np.ndarray,
    test: Float[np.ndarray, "M features"],
    test_labels: np.ndarray,
    classes: int,
) -> tuple[Float[np.ndarray, "M outputs"], dict[str, float]]:
    """Fits on `train`, scores on `test`; `classes` 0 means targets to regress (ridge regression).

    Returns the predictions (two classes: the probability of class 1, as one column) and the defined metrics.
    """
    if classes == 0:
        model = make_pipeline(_imputer(), StandardScaler(), Ridge()).fit(train, train_labels)
        predictions = np.asarray(model.predict(test)).reshape(len(test), -1)
        return predictions, metrics.regression(predictions, test_labels).values
    present = np.unique(train_labels)
    if len(present) < 2:
        raise InputError(f"All training windows have label {present}: the baseline needs two classes at least.")
    model = classifier().fit(train, train_labels)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, present] = model.predict_proba(test)
    if classes == 2:
        probabilities = probabilities[:, 1:]
        return probabilities, metrics.binary(probabilities, test_labels).values
    return probabilities, metrics.multiclass(probabilities, test_labels).values


def band_power_baseline(train: Sequence[Windows], test: Sequence[Windows], classes: int) -> Baseline:
    """Fits the baseline on the windows `train` of some corpora and scores it on their windows `test`.

    Montages may differ: the electrodes that all labelled windows share are used. At most 20,000 training
    windows, evenly spread, are read. Raises InputError if no electrode is shared or there are no labels.
    """
    electrodes = shared_electrodes([*train, *test])
    train_powers, train_labels = _powers(train, electrodes, MAX_TRAIN_WINDOWS)
    test_powers, test_labels = _powers(test, electrodes, None)
    predictions, scores = fit_and_score(
        train_powers.reshape(len(train_labels), -1),
        train_labels,
        test_powers.reshape(len(test_labels), -1),
        test_labels,
        classes,
    )
    return Baseline(predictions, test_powers, test_labels, scores, electrodes, len(train_labels))


def shared_electrodes(windows: Sequence[Windows]) -> tuple[str, ...]:
    """Returns the electrodes that every montage with windows has, in the order of the first."""
    montages = [montage.electrodes for own in windows for montage in own.montages]
    shared = tuple(name for name in montages[0] if all(name in montage for montage in montages)) if montages else ()
    if not shared:
        raise InputError("The corpora share no electrode, so one band-power baseline cannot be fitted to them.")
    return shared


def has_label(label: int | np.ndarray | None) -> bool:
    """Whether a window's label says anything: a class index of 0 or more, or a vector without NaN."""
    if label is None:
        return False
    return bool(np.isfinite(label).all()) if np.ndim(label) else int(label) >= 0


def _powers(
    windows: Sequence[Windows], electrodes: tuple[str, ...], limit: int | None
) -> tuple[Float[np.ndarray, "N C 7"], np.ndarray]:
    share = 1.0 if limit is None else min(1.0, limit / max(sum(map(len, windows)), 1))
    powers, labels = [], []
    split = windows[0].split
    with Progress(f"Band powers ({split})", total=round(share * sum(map(len, windows)))) as progress:
        for montage in (montage for own in windows for montage in own.montages):
            order = [montage.electrodes.index(electrode) for electrode in electrodes]
            for index in evenly_spread(montage, share):
                window = montage[index]
                progress.update()
                if has_label(window.label):
                    own = log_band_powers(window.eeg[None, order])[0]
                    powers.append(np.where(window.bad[order, None], np.nan, own))
                    labels.append(window.label)
    if not labels:
        raise InputError(f"The split {split!r} has no labelled windows for the baseline: prepare it with labels.")
    return np.stack(powers), np.asarray(labels)


def evenly_spread(source: Sized, share: float) -> list[int]:
    """Returns the indices of about `share` (0..1) of a source's windows, first and last among them."""
    count = max(1, round(share * len(source)))
    return np.unique(np.linspace(0, len(source) - 1, count).round().astype(int)).tolist()
