"""What is reached without what a score praises: mean spectra, frequencies of codes, frequencies of classes.

Each is taken from the training split, of which at most 2,000 windows are read, drawn by the seed of the run. One
process works them out on its own devices, when a model is evaluated and not while it trains.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from labram_jax.config import FREQUENCY_BINS, PATCH_SAMPLES
from labram_jax.data.stream import patches
from labram_jax.data.views import SplitWindows
from labram_jax.errors import InputError
from labram_jax.evaluation.heldout import WindowSet, drawn
from labram_jax.evaluation.predictions import PredictionTable, listed
from labram_jax.inference import Tokenizer
from labram_jax.models.patches import model_units
from labram_jax.models.spectrum import log_amplitude_targets, spectral_targets
from labram_jax.montage import ELECTRODES, electrode_ids
from labram_jax.windows import Windows

MOST_WINDOWS = 2000
MEAN, MEAN_BY_ELECTRODE = "mean spectrum", "mean spectrum of each electrode"
FREQUENCIES, FREQUENCIES_BY_ELECTRODE = "code frequencies", "code frequencies of each electrode"
CHANCE = "chance"
_ROWS = len(ELECTRODES) + 1  # of the electrode embedding, of which the class token has one
_SPECTRA = {"amplitude_loss": PATCH_SAMPLES, "phase_loss": PATCH_SAMPLES, "log_amplitude_loss": FREQUENCY_BINS}


class SpectralSums(NamedTuple):
    """Sums over patches of a tokenizer's targets (amplitude, phase, and log amplitude where it has that); sorted by row
    of the electrode embedding."""

    patches: Int[np.ndarray, "E"]
    targets: Sequence[Float[np.ndarray, "E F"]]
    squares: Sequence[float]


def spectral_sums(windows: Iterable[WindowSet], log_amplitude: bool = False) -> SpectralSums:
    """Adds up the standardised spectra of all patches of good electrodes, in float64."""
    sizes = list(_SPECTRA.values())[: 3 if log_amplitude else 2]
    count, total, squares = np.zeros(_ROWS, np.int64), [np.zeros((_ROWS, size)) for size in sizes], [0.0] * len(sizes)
    for own in windows:
        seconds = own.eeg.shape[-1] // PATCH_SAMPLES
        good = np.repeat(~own.bad, seconds, axis=1)
        eeg, membership = model_units(jnp.asarray(patches(own.eeg))), jnp.asarray(good, jnp.float32)[..., None]
        targets = spectral_targets(eeg, membership)
        if log_amplitude:
            targets = (*targets, log_amplitude_targets(eeg, membership))
        rows = np.repeat(electrode_ids(own.electrodes), seconds)
        np.add.at(count, rows, good.sum(axis=0))
        for part, values in enumerate(targets):
            kept = np.where(good[..., None], np.asarray(values), 0)
            squares[part] += np.square(kept, dtype=np.float64).sum()
            np.add.at(total[part], rows, kept.sum(axis=0, dtype=np.float64))
    return SpectralSums(count, total, squares)


def spectral_references(train: SpectralSums, own: SpectralSums) -> dict[str, dict[str, float]]:
    """Returns the tokenizer's losses on the patches `own` of predicting means of the patches `train`, without any code.

    "mean spectrum" is one spectrum for all patches; the other is that of the patch's electrode, or the former where
    training lacks the electrode.
    """
    found = {MEAN: {}, MEAN_BY_ELECTRODE: {}}
    for part, loss in enumerate(list(_SPECTRA)[: len(own.targets)]):
        same = np.broadcast_to(train.targets[part].sum(axis=0) / train.patches.sum(), own.targets[part].shape)
        there = train.patches[:, None] > 0
        each = np.where(there, train.targets[part] / np.maximum(train.patches, 1)[:, None], same)
        for name, mean in ((MEAN, same), (MEAN_BY_ELECTRODE, each)):
            error = own.squares[part] - 2 * (mean * own.targets[part]).sum() + (own.patches @ mean**2).sum()
            found[name][loss] = float(error / own.patches.sum() / _SPECTRA[loss])
    return found


def code_counts(tokenizer: Tokenizer, windows: Iterable[WindowSet]) -> Int[np.ndarray, "E K"]:
    """Counts the codes of the patches of good electrodes, by row of the electrode embedding."""
    counts = np.zeros((_ROWS, tokenizer.config.quantizer.codes), np.int64)
    for own in windows:
        codes = tokenizer.encode(Windows(own.eeg, own.electrodes, own.bad))
        rows = np.broadcast_to(np.array(electrode_ids(own.electrodes))[:, None], codes.shape)
        np.add.at(counts, (rows[codes >= 0], codes[codes >= 0]), 1)
    return counts


def frequency_references(train: Int[np.ndarray, "E K"], own: Int[np.ndarray, "E K"]) -> dict[str, dict[str, float]]:
    """Returns the scores of predicting each code by how often it occurs in `train`, on patches with the codes `own`.

    "code frequencies" are those of all patches, in which every code counts once more than it occurs, so that one which
    the sample lacks does not cost an infinite amount. The others are those of the patch's electrode, to which the
    former are added with a weight of K patches: they alone count where training lacks the electrode.
    """
    codes, patches = train.shape[1], own.sum()
    overall = (train.sum(axis=0) + 1) / (train.sum() + codes)
    each = (train + codes * overall) / (train.sum(axis=1, keepdims=True) + codes)
    found = {}
    for name, shares in ((FREQUENCIES, np.broadcast_to(overall, each.shape)), (FREQUENCIES_BY_ELECTRODE, each)):
        cross_entropy = float(-(own * np.log(shares)).sum() / patches)
        right = float(np.take_along_axis(own, shares.argmax(axis=1)[:, None], axis=1).sum() / patches)
        found[name] = {"loss": 2 * cross_entropy, "cross_entropy": cross_entropy, "accuracy": right}
    return found


def chance(table: PredictionTable, train: Sequence[SplitWindows]) -> PredictionTable:
    """Returns what to say of the same rows without EEG: how often each class occurs in training, or the mean target.

    Raises InputError where no training window has a label.
    """
    labels, outputs = PredictionTable(listed(train), table.task).labelled().labels, table.outputs
    if table.task != "regression":
        labels = np.eye(outputs.shape[1])[labels]
    return table.with_outputs(np.broadcast_to(labels.mean(axis=0), outputs.shape))


def sample_of(train: Sequence[SplitWindows], seed: int) -> tuple[Iterable[WindowSet], str]:
    """Returns at most 2,000 training windows and how they are to be called; InputError where there are none."""
    total = sum(map(len, train))
    if not total:
        raise InputError("There are no windows in the split 'train'.")
    taken = f"{MOST_WINDOWS:,} of its {total:,} windows, drawn by seed {seed}" if total > MOST_WINDOWS else "all of it"
    return drawn(train, MOST_WINDOWS, seed), f"from the training split ({taken})"
