"""Band powers measure what they say, and the baseline learns what a band power tells."""

import dataclasses

import numpy as np
import pytest
from alpha_corpus import ELECTRODES
from small_runs import MONTAGES, write_corpus

from labram_jax.adaptation.band_powers import BANDS_HZ, evenly_spread, log_band_powers, read_powers
from labram_jax.errors import InputError
from labram_jax.evaluation.baseline import fit_band_powers


@pytest.mark.parametrize(("frequency", "band"), [(2, "delta"), (9, "low alpha"), (11, "high alpha"), (36, "low gamma")])
@pytest.mark.parametrize("seconds", [1, 4])
def test_power_of_a_sine_falls_into_its_band(frequency, band, seconds):
    eeg = 20 * np.sin(2 * np.pi * frequency * np.arange(200 * seconds) / 200)[None, None]
    powers = np.exp(log_band_powers(eeg))[0, 0]
    assert list(BANDS_HZ)[powers.argmax()] == band
    assert powers.max() == pytest.approx(20**2 / 2, rel=0.35)  # the window function leaks into the neighbours
    assert powers.max() > 4 * np.sort(powers)[-2]


def band_powers(corpus, task="binary"):
    """The baseline, fitted once, and its table of the test windows."""
    windows = [corpus.windows("test", 2)]
    train, validation = ([corpus.windows(split, 2)] for split in ("train", "validation"))
    fitted = fit_band_powers(train, validation, windows, task, corpus.classes or ())
    return fitted, fitted.predict(windows)


def test_a_flat_electrode_has_finite_power():
    assert np.isfinite(log_band_powers(np.zeros((1, 2, 400)))).all()


def test_baseline_learns_alpha_and_predicts_every_test_window(alpha_corpus):
    corpus = alpha_corpus()
    fitted, table = band_powers(corpus)
    assert table.scores().values["auroc"] > 0.95 and table.classes == ("open", "closed")
    assert table.frame["start_seconds"].tolist() == [window.start_seconds for window in corpus.windows("test", 2)]
    assert table.labels.tolist() == [0, 1] * 6 and fitted.train_windows == 24
    powers, labels = read_powers([corpus.windows("test", 2)], fitted.electrodes)
    assert powers.shape == (12, 8, len(BANDS_HZ)) and labels.tolist() == [0, 1] * 6
    assert len(read_powers([corpus.windows("test", 2)], fitted.electrodes, most=6)[0]) == 6


def test_montages_meet_in_their_shared_electrodes(alpha_corpus):
    montages = (("FP1", "O1", "O2", "CZ"), ("O2", "FPZ", "O1"))
    fitted, table = band_powers(alpha_corpus("mixed", montages))
    assert sorted(fitted.electrodes) == ["O1", "O2"] and fitted.train_windows == 48
    assert table.scores().values["auroc"] > 0.9
    with pytest.raises(InputError, match="share no electrode"):
        band_powers(alpha_corpus("apart", (("FP1", "O1"), ("C3", "C4", "CZ"))))


def test_bad_electrodes_count_as_the_mean(alpha_corpus):
    corpus = alpha_corpus("bad", bads=["CZ"])
    powers, _ = read_powers([corpus.windows("test", 2)], ELECTRODES)
    assert np.isnan(powers[:, 4]).all() and np.isfinite(np.delete(powers, 4, axis=1)).all()
    assert band_powers(corpus)[1].scores().values["auroc"] > 0.95


def test_a_class_absent_from_training_gets_no_probability(tmp_path):
    three = write_corpus(tmp_path / "three", MONTAGES[:1], {"train": 12, "test": 6}, classes=3)
    spans = three.tables.spans

    def trained_on(label):
        kept = spans[(spans["split"] == "test") | label(spans["label"])]
        return dataclasses.replace(three, tables=dataclasses.replace(three.tables, spans=kept))

    table = band_powers(trained_on(lambda own: own != 1), "multiclass")[1]
    assert table.outputs.shape == (6, 3) and (table.outputs[:, 1] == 0).all() and set(table.labels) == {0, 1, 2}
    assert np.isfinite(list(table.scores().values.values())).all()
    with pytest.raises(InputError, match=r"have label \[1\]: the baseline needs two classes"):
        band_powers(trained_on(lambda own: own == 1), "multiclass")


def test_targets_are_regressed(alpha_corpus):
    table = band_powers(alpha_corpus("reach", label="vector"), "regression")[1]
    assert table.outputs.shape == (12, 2) and table.scores().values["r2"] > 0.8


def test_windows_are_spread():
    assert evenly_spread(range(10), 1.0) == list(range(10))
    assert evenly_spread(range(11), 0.3) == [0, 5, 10]
