"""The baseline beside every classifier: logistic regression on log band powers, as the field has long done it."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.signal import welch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from labram_jax import metrics
from labram_jax.config import SAMPLE_RATE
from labram_jax.data.schema import NO_CLASS
from labram_jax.data.views import Windows
from labram_jax.errors import InputError
from labram_jax.evaluation.predictions import PredictionTable, listed
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
class BandPowers:
    """The baseline, fitted once: a logistic or ridge regression on log band powers of some electrodes.

    Attributes:
        electrodes: those that all montages have that it was fitted for.
        train_windows: how many windows it was fitted to.
        classes: their names, empty where they have none; `task` says how it is scored.
        present: the classes that occur in training; others get no probability.
    """

    electrodes: tuple[str, ...]
    train_windows: int
    task: metrics.Task
    classes: tuple[str, ...]
    present: Int[np.ndarray, "present"]
    model: Pipeline

    def predict(self, windows: Sequence[Windows]) -> PredictionTable:
        """The predictions for all windows of a split, in the order of `predictions.listed`."""
        powers, _ = read_powers(windows, self.electrodes)
        features = powers.reshape(len(powers), -1)
        if self.task == "regression":
            outputs = np.asarray(self.model.predict(features)).reshape(len(features), -1)
        else:
            outputs = np.zeros((len(features), 2 if self.task == "binary" else len(self.classes)))
            outputs[:, self.present] = self.model.predict_proba(features)
            outputs = outputs[:, 1:] if self.task == "binary" else outputs
        return PredictionTable.of(listed(windows), outputs, self.task, self.classes)


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


def fit_band_powers(
    train: Sequence[Windows], others: Sequence[Windows], task: metrics.Task, classes: tuple[str, ...]
) -> BandPowers:
    """Fits the baseline to the labelled windows `train` of some corpora, to be used on `others` as well.

    Montages may differ: the electrodes that all of them share are used. At most 20,000 training windows, evenly
    spread, are read. Raises InputError if no electrode is shared, or there are no labels or one class alone.
    """
    electrodes = shared_electrodes([*train, *others])
    powers, labels = read_powers(train, electrodes, MAX_TRAIN_WINDOWS)
    known = np.isfinite(labels).all(axis=1) if task == "regression" else labels >= 0
    if not known.any():
        raise InputError(
            f"The split {train[0].split!r} has no labelled windows for the baseline: prepare it with labels."
        )
    features, labels = powers[known].reshape(known.sum(), -1), labels[known]
    present = np.arange(0) if task == "regression" else np.unique(labels)
    if task != "regression" and len(present) < 2:
        raise InputError(f"All training windows have label {present}: the baseline needs two classes at least.")
    model = make_pipeline(_imputer(), StandardScaler(), Ridge()) if task == "regression" else classifier()
    return BandPowers(electrodes, len(labels), task, classes, present, model.fit(features, labels))


def shared_electrodes(windows: Sequence[Windows]) -> tuple[str, ...]:
    """Returns the electrodes that every montage with windows has, in the order of the first."""
    montages = [montage.electrodes for own in windows for montage in own.montages]
    shared = tuple(name for name in montages[0] if all(name in montage for montage in montages)) if montages else ()
    if not shared:
        raise InputError("The corpora share no electrode, so one band-power baseline cannot be fitted to them.")
    return shared


def read_powers(
    windows: Sequence[Windows], electrodes: tuple[str, ...], most: int | None = None
) -> tuple[Float[np.ndarray, "N C 7"], np.ndarray]:
    """Returns log band powers and labels of all windows, or of `most` evenly spread ones; bad electrodes are NaN."""
    total = sum(map(len, windows))
    share = 1.0 if most is None else min(1.0, most / max(total, 1))
    powers, labels = [], []
    split = ", ".join({own.split for own in windows})
    with Progress(f"Band powers ({split})", total=round(share * total)) as progress:
        for montage in (montage for own in windows for montage in own.montages):
            order = [montage.electrodes.index(electrode) for electrode in electrodes]
            for index in evenly_spread(montage, share):
                window = montage[index]
                progress.update()
                own = log_band_powers(window.eeg[None, order])[0]
                powers.append(np.where(window.bad[order, None], np.nan, own))
                labels.append(NO_CLASS if window.label is None else window.label)
    if not powers:
        raise InputError(f"There are no windows in the split {split!r} for the baseline: choose another split.")
    return np.stack(powers), np.asarray(labels)


def evenly_spread(source: Sized, share: float) -> list[int]:
    """Returns the indices of about `share` (0..1) of a source's windows, first and last among them."""
    count = max(1, round(share * len(source)))
    return np.unique(np.linspace(0, len(source) - 1, count).round().astype(int)).tolist()
