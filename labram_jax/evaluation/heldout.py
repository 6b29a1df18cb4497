"""Windows of a run's corpora that it was not trained on, and a classifier's predictions for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit, softmax

from labram_jax.config import DataConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.schema import ConfigurationInfo
from labram_jax.errors import InputError
from labram_jax.evaluation.baseline import evenly_spread, has_label
from labram_jax.inference import Classifier
from labram_jax.progress import Progress

_CHUNK = 64  # windows in memory at one time


@dataclass(frozen=True)
class WindowSet:
    """Some windows of one configuration, in microvolts."""

    corpus: str
    configuration: ConfigurationInfo
    eeg: Float[np.ndarray, "N C samples"]


def held_out_split(data: DataConfig, corpora: Sequence[Corpus]) -> str:
    """Names the split to look at: validation, else test; InputError where the corpora hold neither."""
    for split in (data.validation_split, data.test_split):
        if split and any(corpus.windows(split) for corpus in corpora):
            return split
    raise InputError("The corpora hold no validation or test windows: prepare them with one of these splits.")


def sample(corpora: Sequence[Corpus], split: str, most: int) -> Iterator[WindowSet]:
    """Yields at most `most` evenly spread windows of each configuration that has any in `split`."""
    for corpus in corpora:
        for configuration in corpus.configurations:
            if configuration.splits.get(split):
                source = corpus.source(configuration.name, split)
                indices = evenly_spread(source, min(1.0, most / len(source)))
                eeg = np.stack([np.asarray(source[index].eeg, dtype=np.float32) for index in indices])
                yield WindowSet(corpus.name, configuration, eeg)


def predict(
    classifier: Classifier, corpora: Sequence[Corpus], split: str
) -> tuple[Float[np.ndarray, "N outputs"], np.ndarray]:
    """Returns predictions and labels of all labelled windows of a split, corpus by corpus in their order.

    Predictions are the probability of class 1 (one output), of every class, or the values of a regressor.
    """
    logits, labels = [], []
    with Progress(f"Predictions ({split})", total=sum(corpus.windows(split) for corpus in corpora)) as progress:
        for corpus in corpora:
            for configuration in corpus.configurations:
                if not configuration.splits.get(split):
                    continue
                source = corpus.source(configuration.name, split)
                for start in range(0, len(source), _CHUNK):
                    chunk = [source[index] for index in range(start, min(start + _CHUNK, len(source)))]
                    progress.update(len(chunk))
                    chunk = [window for window in chunk if has_label(window.label)]
                    if chunk:
                        eeg = np.stack([np.asarray(window.eeg, dtype=np.float32) for window in chunk])
                        logits.append(classifier.predict_logits(eeg, configuration.electrodes))
                        labels += [window.label for window in chunk]
    if not labels:
        raise InputError(f"The corpora have no labelled windows in the split {split!r}: choose another split.")
    values = np.concatenate(logits)
    if classifier.config.task == "regression":
        return values, np.asarray(labels)
    return (expit(values) if values.shape[1] == 1 else softmax(values, axis=1)), np.asarray(labels)
