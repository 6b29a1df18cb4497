"""Windows that a run was not trained on, and a classifier's predictions for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.special import expit, softmax

from labram_jax.config import DataConfig
from labram_jax.data.corpus import Corpus
from labram_jax.data.reader import windows_of
from labram_jax.data.views import MontageWindows, Window, Windows
from labram_jax.errors import InputError
from labram_jax.evaluation.baseline import evenly_spread, has_label
from labram_jax.inference import Classifier
from labram_jax.progress import Progress

CHUNK = 64  # windows in memory at one time


@dataclass(frozen=True)
class WindowSet:
    """Some windows of one montage, in microvolts; `bad` says which electrodes take no part in each."""

    name: str
    electrodes: tuple[str, ...]
    eeg: Float32[np.ndarray, "N C samples"]
    bad: Bool[np.ndarray, "N C"]


def held_out_windows(data: DataConfig, corpora: Sequence[Corpus]) -> tuple[str, list[Windows]]:
    """Names the split to look at, validation, else test, and returns its windows; InputError where both are empty."""
    for split in (data.validation_split, data.test_split):
        if split and any(map(len, windows := windows_of(data, corpora, split))):
            return split, windows
    raise InputError("The corpora hold no validation or test windows: prepare them with one of these splits.")


def chunks(montage: MontageWindows) -> Iterator[list[Window]]:
    """Yields all windows of a montage, some at a time."""
    for start in range(0, len(montage), CHUNK):
        yield montage.read(range(start, min(start + CHUNK, len(montage))))


def sample(windows: Sequence[Windows], most: int) -> Iterator[WindowSet]:
    """Yields at most `most` evenly spread windows of each montage of each corpus."""
    for own in windows:
        for montage in own.montages:
            found = montage.read(evenly_spread(montage, min(1.0, most / len(montage))))
            name = f"{own.corpus.name}, {montage.directory.name}"
            yield WindowSet(name, montage.electrodes, *_stacked(found))


def predict(classifier: Classifier, windows: Sequence[Windows]) -> tuple[Float[np.ndarray, "N outputs"], np.ndarray]:
    """Returns predictions and labels of all labelled windows, corpus by corpus in their order.

    Predictions are the probability of class 1 (one output), of every class, or the values of a regressor.
    """
    logits, labels = [], []
    with Progress("Predictions", total=sum(map(len, windows))) as progress:
        for montage in (montage for own in windows for montage in own.montages):
            for chunk in chunks(montage):
                progress.update(len(chunk))
                chunk = [window for window in chunk if has_label(window.label)]
                if chunk:
                    eeg, bad = _stacked(chunk)
                    logits.append(classifier.predict_logits(eeg, montage.electrodes, bads=bad))
                    labels += [window.label for window in chunk]
    if not labels:
        split = windows[0].split
        raise InputError(f"The corpora have no labelled windows in the split {split!r}: choose another split.")
    values = np.concatenate(logits)
    if classifier.config.task == "regression":
        return values, np.asarray(labels)
    return (expit(values) if values.shape[1] == 1 else softmax(values, axis=1)), np.asarray(labels)


def _stacked(windows: Sequence[Window]) -> tuple[Float32[np.ndarray, "N C samples"], Bool[np.ndarray, "N C"]]:
    return np.stack([window.eeg for window in windows]), np.stack([window.bad for window in windows])
