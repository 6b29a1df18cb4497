"""The fine-tuned model: windows to logits, probabilities, classes, or the values of a regressor."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import expit, softmax

from labram_jax.config import ClassifierConfig
from labram_jax.errors import InputError
from labram_jax.inference.pooled import FeatureModel, Pooling
from labram_jax.models import ClassifierModel
from labram_jax.windows import Bads, Windows, as_windows


class Classifier(FeatureModel):
    """Windows to logits, probabilities and classes; class names are in `config.classes`."""

    module = ClassifierModel
    config: ClassifierConfig

    def predict_logits(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> Float[np.ndarray, "N outputs"]:
        """Logits (one output: of class 1), or the values of a regressor; arguments as in `Tokenizer.encode`."""
        windows = as_windows(windows, electrodes, sfreq, bads)
        (logits,) = self._run("logits", ClassifierModel.__call__, windows, per_patch=False)
        return logits[:, 0]

    def predict_proba(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> Float[np.ndarray, "N classes"]:
        """Probabilities of all classes, two of them where there is one logit; InputError from a regressor."""
        if self.config.task == "regression":
            raise InputError("A regressor gives values and no probabilities: call predict.")
        logits = self.predict_logits(windows, electrodes, sfreq=sfreq, bads=bads)
        if logits.shape[1] == 1:
            return expit(np.concatenate([-logits, logits], axis=1))
        return softmax(logits, axis=1)

    def predict(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
    ) -> np.ndarray:
        """The likeliest class of each window, by name where it has one; a regressor's values [N, outputs]."""
        if self.config.task == "regression":
            return self.predict_logits(windows, electrodes, sfreq=sfreq, bads=bads)
        likeliest = self.predict_proba(windows, electrodes, sfreq=sfreq, bads=bads).argmax(axis=1)
        return np.asarray(self.config.classes)[likeliest] if self.config.classes else likeliest

    def features(
        self,
        windows: Windows | np.ndarray,
        electrodes: Sequence[str] | None = None,
        *,
        sfreq: float | None = None,
        bads: Bads = None,
        pool: Pooling = "mean",
        layer: str | None = None,
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C A D"]:
        """Features as in `Encoder.features`, by the classifier's own norm, as a head that pools so sees them."""
        return self._features(as_windows(windows, electrodes, sfreq, bads), pool, layer)

    def _told(self) -> str:
        named = f" ({', '.join(self.config.classes)})" if self.config.classes else ""
        what = "outputs" if self.config.task == "regression" else "logits"
        return f"{self.config.task} by {self.config.outputs} {what}{named}, pooled by {self.config.pooling}"
