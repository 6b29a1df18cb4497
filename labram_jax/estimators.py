"""LaBraM in scikit-learn: features, a classifier and a regressor over `Windows`, MNE's epochs, or arrays."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_is_fitted

from labram_jax.adaptation.features import blocks_of
from labram_jax.adaptation.head import head_of
from labram_jax.adaptation.linear import Block, folded, logistic_fits, ridge_fits, scale_of, scaled
from labram_jax.errors import InputError
from labram_jax.inference import Classifier, Convention, Encoder, Pooling, Tokenizer, load
from labram_jax.inference.classifier import HeadPooling, probabilities, reader_of
from labram_jax.montage import electrode_ids
from labram_jax.windows import Windows, as_windows


class _OverWindows(BaseEstimator):
    """What the estimators share: a model, and what they are given, made into `Windows`."""

    def _loaded(self) -> Encoder | Classifier:
        """The model itself, from wherever it is; copies by scikit-learn share its variables and what is compiled."""
        model = load(self.model) if isinstance(self.model, str | Path) else self.model
        if model is None or isinstance(model, Tokenizer):
            raise InputError(f"{type(self).__name__} needs an encoder or a classifier: give model, or its path.")
        return model

    def _windows(self, X: Any) -> Windows:
        # Windows and epochs carry what an array does not say.
        is_array = not isinstance(X, Windows) and not hasattr(X, "info")
        return as_windows(X, self.electrodes, self.sfreq) if is_array else as_windows(X)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


class LabramFeatures(TransformerMixin, _OverWindows):
    """Features of windows by a model that is not trained here: `transform` gives [N, D].

    Args:
        model: an `Encoder` or a `Classifier`, or a path that `labram_jax.load` takes, read at each fit.
        electrodes: of arrays [N, C, samples] in microvolts, as `Windows.from_array` takes them.
        sfreq: likewise.
        pool: "mean" or "class_token".
        layer: one of the model's `layers`, or None for its end.
        convention: of an encoder, see `Encoder.features`.
    """

    def __init__(
        self,
        model: Encoder | Classifier | str | Path | None = None,
        *,
        electrodes: Sequence[str] | None = None,
        sfreq: float | None = None,
        pool: Pooling = "mean",
        layer: str | None = None,
        convention: Convention = "pretraining",
    ):
        self.model, self.electrodes, self.sfreq = model, electrodes, sfreq
        self.pool, self.layer, self.convention = pool, layer, convention

    def fit(self, X: Any, y: Any = None) -> "LabramFeatures":
        """Reads the model and looks at the windows; nothing is learnt from them."""
        if self.pool in ("none", "electrodes"):
            raise InputError(f"pool is {self.pool!r}, which gives no vector a window: choose 'mean' or 'class_token'.")
        self._windows(X)
        self.model_ = self._loaded()
        if self.convention != "pretraining" and not isinstance(self.model_, Encoder):
            raise InputError(f"convention is {self.convention!r}, but a classifier has its own: leave it out.")
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features [N, D]."""
        check_is_fitted(self)
        windows = self._windows(X)
        options = {"convention": self.convention} if isinstance(self.model_, Encoder) else {}
        return self.model_.features(windows, pool=self.pool, layer=self.layer, **options)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class _Probe(_OverWindows):
    """A head fitted in closed form to what an encoder that stays as it is gives of windows."""

    def __init__(
        self,
        model: Encoder | Classifier | str | Path | None = None,
        *,
        electrodes: Sequence[str] | None = None,
        sfreq: float | None = None,
        pooling: HeadPooling = "mean",
        amplitude: bool = False,
        filters: bool = False,
        penalty: float = 0.01,
    ):
        self.model, self.electrodes, self.sfreq = model, electrodes, sfreq
        self.pooling, self.amplitude, self.filters, self.penalty = pooling, amplitude, filters, penalty

    def _read(self, windows: Windows) -> list[Block]:
        return blocks_of(self.reader_.readout(windows, self.rows_), self.pooling == "electrodes")

    def _fit(self, windows: Windows, fits: Any) -> None:
        """`fits` gives the fit to scaled features [N, features]."""
        self.reader_ = reader_of(self._loaded(), self.pooling, self.amplitude, self.filters)
        self.rows_ = sorted(electrode_ids(windows.electrodes).tolist())
        blocks = self._read(windows)
        self.scales_ = [scale_of(block) for block in blocks]
        (self.fit_,) = fits(scaled(blocks, self.scales_))

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return self.fit_(scaled(self._read(self._windows(X)), self.scales_))

    def _model(self, **changes: Any) -> Classifier:
        check_is_fitted(self)
        reader, fit = self.reader_, self.fit_
        config = dataclasses.replace(reader.config, outputs=fit.bias.size, **changes)
        heads = head_of(config, folded(fit, self.scales_), fit, self.rows_)
        return Classifier({"params": {**reader.variables["params"], **heads}}, config, reader.compute, reader.seen)


class LabramClassifier(ClassifierMixin, _Probe):
    """Logistic regression on what a frozen encoder gives of windows, as `labram-jax train --trainable probe` fits it.

    `to_model` gives what was fitted as a `Classifier`, which can be saved, exported and scored. Training the encoder
    too takes a corpus, checkpoints and a schedule, and is a command: `labram-jax train`.

    Args:
        model: an `Encoder` or a `Classifier`, whose head is not used, or a path that `labram_jax.load` takes.
        electrodes: of arrays [N, C, samples] in microvolts, as `Windows.from_array` takes them.
        sfreq: likewise.
        pooling: what the head sees: "mean" over patches, "class_token", or the mean of each of the "electrodes".
        amplitude: show the head each electrode's log amplitude too, which the encoder's norms hide.
        filters: show it the log amplitude of what each filter of the temporal convolution gives of an electrode too.
        penalty: of the squared weights beside the mean cross-entropy, on features whose variances sum to 1.
        balanced: have all classes count the same.
    """

    def __init__(
        self,
        model: Encoder | Classifier | str | Path | None = None,
        *,
        electrodes: Sequence[str] | None = None,
        sfreq: float | None = None,
        pooling: HeadPooling = "mean",
        amplitude: bool = False,
        filters: bool = False,
        penalty: float = 0.01,
        balanced: bool = False,
    ):
        super().__init__(
            model,
            electrodes=electrodes,
            sfreq=sfreq,
            pooling=pooling,
            amplitude=amplitude,
            filters=filters,
            penalty=penalty,
        )
        self.balanced = balanced

    def fit(self, X: Any, y: Any) -> "LabramClassifier":
        """Fits to windows and their classes, of any type; InputError for fewer than two of these."""
        windows = self._windows(X)
        if y is None:
            raise InputError("LabramClassifier requires y to be passed, but the target y is None.")
        y = column_or_1d(y, warn=True)
        check_consistent_length(windows, y)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("All windows are of one class, so nothing can be learnt: give windows of two classes.")
        self._fit(windows, lambda seen: logistic_fits(seen, labels, [self.penalty], self.balanced))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits: [N] of the second of two classes, else [N, classes]."""
        logits = self._outputs(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities [N, classes] in the order of `classes_`."""
        return probabilities(self._outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """The likeliest class of each window."""
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def to_model(self) -> Classifier:
        """What was fitted, as a model; its classes have the names that y gave them."""
        return self._model(classes=tuple(map(str, self.classes_)))


class LabramRegressor(RegressorMixin, _Probe):
    """Ridge regression on what a frozen encoder gives of windows; arguments and `to_model` as in `LabramClassifier`.

    Targets are standardised first, so that `penalty` means the same whatever their unit.
    """

    def fit(self, X: Any, y: Any) -> "LabramRegressor":
        """Fits to windows and their targets, [N] or [N, outputs]."""
        windows = self._windows(X)
        if y is None:
            raise InputError("LabramRegressor requires y to be passed, but the target y is None.")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y")
        check_consistent_length(windows, y)
        self.single_, targets = y.ndim == 1, y.reshape(len(y), -1)
        self.mean_, spread = targets.mean(axis=0), targets.std(axis=0)
        self.spread_ = np.where(spread > 1e-6 * np.abs(self.mean_), spread, 1)
        targets = (targets - self.mean_) / self.spread_
        self._fit(windows, lambda seen: ridge_fits(seen, targets, [self.penalty]))
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Values in the targets' units, shaped like them."""
        values = self._outputs(X) * self.spread_ + self.mean_
        return values[:, 0] if self.single_ else values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def to_model(self) -> Classifier:
        """What was fitted, as a model."""
        check_is_fitted(self)
        scale, mean = tuple(self.spread_.tolist()), tuple(self.mean_.tolist())
        return self._model(task="regression", target_mean=mean, target_scale=scale)
