"""References: what mean spectra and frequencies of codes give, by hand and by the models' own losses."""

import numpy as np
import pytest

from labram_jax.data.pipeline import evaluation
from labram_jax.evaluation.heldout import CHUNK, drawn
from labram_jax.evaluation.references import (
    FREQUENCIES,
    FREQUENCIES_BY_ELECTRODE,
    MEAN,
    MEAN_BY_ELECTRODE,
    MOST_WINDOWS,
    SpectralSums,
    code_counts,
    frequency_references,
    sample_of,
    spectral_references,
    spectral_sums,
)
from labram_jax.models.patches import PatchBatch
from labram_jax.models.spectrum import log_amplitude_targets, spectral_targets
from labram_jax.montage import electrode_ids


def of(corpus, split: str, most: int = 10**6):
    return drawn([corpus.windows(split, 2)], most, seed=0)


def targets_of(corpus, split: str):
    """Targets [patches, frequencies] (amplitude, phase, log amplitude) and electrodes, as the stage makes them."""
    windows = corpus.windows(split, 2)
    (batch,) = evaluation([windows], batch_rows=100, patch_slots=16, segments=1)
    stream = PatchBatch.of(batch, segments=1)
    there = np.asarray(stream.valid)
    own = stream.patches, stream.membership
    targets = [np.asarray(part)[there] for part in (*spectral_targets(*own), log_amplitude_targets(*own))]
    return targets, np.asarray(stream.electrode_ids)[there]


@pytest.mark.parametrize("bads", [(), ("CZ",)])
def test_mean_spectra_cost_what_their_squared_errors_are(bads, alpha_corpus):
    corpus = alpha_corpus("spectra", bads=bads)
    found = spectral_references(*(spectral_sums(of(corpus, split), log_amplitude=True) for split in ("train", "test")))
    (train, electrodes), (test, own) = targets_of(corpus, "train"), targets_of(corpus, "test")
    assert len(set(own)) == 8 - len(bads)
    for part, name in enumerate(("amplitude_loss", "phase_loss", "log_amplitude_loss")):
        assert found[MEAN][name] == pytest.approx(np.mean((test[part] - train[part].mean(axis=0)) ** 2), rel=1e-4)
        by_electrode = {e: train[part][electrodes == e].mean(axis=0) for e in set(electrodes)}
        errors = [target - by_electrode[e] for target, e in zip(test[part], own, strict=True)]
        assert found[MEAN_BY_ELECTRODE][name] == pytest.approx(np.mean(np.square(errors)), rel=1e-4)
    assert found[MEAN]["amplitude_loss"] < 0.95 < found[MEAN]["phase_loss"] < 1.05


def test_an_electrode_that_training_lacks_gets_the_mean_of_all():
    def sums(patches, targets):
        targets = np.array([targets, targets], float)[..., None] * np.ones(200)
        return SpectralSums(np.array(patches), targets, np.array([1800.0, 1800.0]))

    # Means 1 and 4 in training, 2 over all; a test patch of 3 at the second electrode and none at the first.
    found = spectral_references(sums([2, 1, 0], [2, 4, 0]), sums([0, 1, 0], [0, 3, 0]))
    assert found[MEAN]["amplitude_loss"] == pytest.approx((3 - 2) ** 2)
    assert found[MEAN_BY_ELECTRODE]["phase_loss"] == pytest.approx((3 - 4) ** 2)
    found = spectral_references(sums([2, 1, 0], [2, 4, 0]), sums([0, 0, 1], [0, 0, 3]))
    assert found[MEAN_BY_ELECTRODE] == found[MEAN] == {"amplitude_loss": 1, "phase_loss": 1}


def test_frequencies_cost_their_cross_entropy():
    train, own = np.array([[0, 0, 0], [5, 1, 0], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 2], [0, 1, 0]])
    shares = np.array([6, 3, 1]) / 10
    expected = -(np.log(shares[0]) + 2 * np.log(shares[1]) + 2 * np.log(shares[2])) / 5
    found = frequency_references(train, own)
    assert found[FREQUENCIES] == pytest.approx({"loss": 2 * expected, "cross_entropy": expected, "accuracy": 0.2})
    # Of an electrode that training lacks, those of all; else with the weight of three patches.
    second, third = (np.array([5, 1, 0]) + 3 * shares) / 9, (np.array([0, 1, 0]) + 3 * shares) / 4
    expected = -(np.log(shares[0]) + np.log(second[1]) + 2 * np.log(second[2]) + np.log(third[1])) / 5
    by_electrode = found[FREQUENCIES_BY_ELECTRODE]
    assert by_electrode == pytest.approx({"loss": 2 * expected, "cross_entropy": expected, "accuracy": 0.4})


def test_codes_of_good_electrodes_are_counted(alpha_corpus, trained_tokenizer):
    corpus = alpha_corpus("codes", bads=("CZ",))
    counts = code_counts(trained_tokenizer, of(corpus, "test"))
    expected = np.zeros_like(counts)
    for window in corpus.windows("test", 2):
        codes = trained_tokenizer.encode(window.eeg[None], window.electrodes, sfreq=200, bads=window.bad[None])[0]
        for row, of_electrode in zip(electrode_ids(window.electrodes), codes, strict=True):
            for code in of_electrode[of_electrode >= 0]:
                expected[row, code] += 1
    assert counts.sum() == 12 * 7 * 2 and np.array_equal(counts, expected)


def test_a_sample_is_drawn_by_its_seed_and_bounded(corpus):
    windows = [corpus.windows("train", 2)]
    every = [eeg for own in drawn(windows, 144, seed=0) for eeg in own.eeg]
    assert len(every) == 144 and all(map(np.array_equal, every, (window.eeg for window in windows[0])))

    def numbers(seed):
        found = list(drawn(windows, 80, seed))
        assert max(len(own.eeg) for own in found) <= CHUNK
        # A window lies where its first samples do; all are different.
        places = {window.eeg[:, 0].tobytes(): number for number, window in enumerate(windows[0])}
        return [places[eeg[:, 0].tobytes()] for own in found for eeg in own.eeg]

    first = numbers(0)
    assert len(set(first)) == 80 and first == sorted(first) == numbers(0) != numbers(1)
    assert 20 < sum(number < 72 for number in first) < 60  # of both montages
    assert sample_of(windows, 0)[1] == "from the training split (all of it)" and len(windows[0]) < MOST_WINDOWS
