"""The fine-tuned model: windows to logits, probabilities, classes, or the values of a regressor."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import expit, softmax

from labram_jax.config import ClassifierConfig
from labram_jax.errors import InputError
from labram_jax.inference.pooled import FeatureModel, Pooling, fresh_norm
from labram_jax.models import ClassifierModel, PatchBatch
from labram_jax.windows import Bads, Windows, as_windows

HeadPooling = Literal["mean", "class_token", "electrodes"]


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
        return probabilities(self.predict_logits(windows, electrodes, sfreq=sfreq, bads=bads))

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
    ) -> Float[np.ndarray, "N D"] | Float[np.ndarray, "N C D"] | Float[np.ndarray, "N C A D"]:
        """Features as in `Encoder.features`, by the classifier's own norm, as a head that pools so sees them."""
        return self._features(as_windows(windows, electrodes, sfreq, bads), pool, layer)

    def readout(self, windows: Windows, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """What the heads see of each window, by its name (`models.readout.Readout`), of electrodes in these rows."""
        config, rows = self.config, np.asarray(rows)
        by_electrode = config.pooling == "electrodes"

        def seen(network: ClassifierModel, batch: PatchBatch):
            return network.readout(batch).of_electrodes(rows, by_electrode)

        found = self._run(f"readout {rows.tolist()}", seen, windows, per_patch=False)
        there = {
            "amplitude": config.amplitude,
            "filters": config.filters,
            "pooled": True,
            "present": by_electrode or config.amplitude or config.filters,
        }
        names = sorted(name for name, shown in there.items() if shown)  # as a tree's leaves are ordered
        return {name: values[:, 0] for name, values in zip(names, found, strict=True)}

    def _told(self) -> str:
        named = f" ({', '.join(self.config.classes)})" if self.config.classes else ""
        what = "outputs" if self.config.task == "regression" else "logits"
        return f"{self.config.task} by {self.config.outputs} {what}{named}, pooled by {self.config.pooling}"


def probabilities(logits: Float[np.ndarray, "N outputs"]) -> Float[np.ndarray, "N classes"]:
    """Probabilities of all classes, two of them where there is one logit."""
    if logits.shape[1] == 1:
        return expit(np.concatenate([-logits, logits], axis=1))
    return softmax(logits, axis=1)


def reader_of(model: FeatureModel, pooling: HeadPooling, amplitude: bool, filters: bool) -> Classifier:
    """The classifier without a head that fine-tuning of a model would begin with, whose `readout` a head is fitted to.

    Of an encoder the class token has a row of its own, and the final norm is fresh unless it is the class token's, as
    in the reference; a classifier keeps both. It is made once for each model, whose variables it shares.
    """
    return model._once(f"reader {pooling} {amplitude} {filters}", lambda: _reader(model, pooling, amplitude, filters))


def _reader(model: FeatureModel, pooling: HeadPooling, amplitude: bool, filters: bool) -> Classifier:
    params, encoder = model.variables["params"], model.config.encoder
    norm = params["norm"]
    if not isinstance(model, Classifier):
        encoder = dataclasses.replace(encoder, class_position="class_row", initialisation="tokenizer")
        norm = norm if pooling == "class_token" else fresh_norm(norm)
    config = ClassifierConfig(encoder, pooling=pooling, amplitude=amplitude, filters=filters)
    return model._derived(Classifier, {"params": {"encoder": params["encoder"], "norm": norm}}, config)
