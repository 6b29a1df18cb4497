"""Cleaning: electrodes, filters, rate and units."""

import numpy as np
import pytest
from made_up import MONTAGE, noise, raw_of

from data_prep.clean import clean, filter_and_resample, possible_steps
from data_prep.plan import FINITE_ONLY, Filters
from labram_jax.errors import InputError
from labram_jax.montage import OLD_TO_NEW


def power_at(signal: np.ndarray, rate: float, frequency: float) -> float:
    spectrum = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
    near = np.abs(np.fft.rfftfreq(len(signal), 1 / rate) - frequency) < 0.3
    return spectrum[near].sum() / spectrum.sum()


def test_it_equals_the_published_recipe_in_mne():
    raw = raw_of(noise(6, 500.0, 60.0), 500.0)
    signal = clean(raw)
    reference = raw.copy().filter(0.1, 75.0, verbose="ERROR").notch_filter(50.0, verbose="ERROR")
    reference = reference.resample(200, verbose="ERROR").get_data() * 1e6
    assert signal.eeg.dtype == np.float32
    assert signal.electrodes == ("FP1", "FP2", "C3", "C4", "O1", "O2")
    np.testing.assert_allclose(signal.eeg, reference, atol=1e-4)


@pytest.mark.parametrize("notch", [50.0, 60.0])
def test_mains_and_offset_go_and_alpha_stays(notch):
    time = np.arange(256 * 60) / 256
    wanted = 30 * np.sin(2 * np.pi * 10 * time)
    mains = 80 * np.sin(2 * np.pi * notch * time)
    cleaned, notes = filter_and_resample((wanted + mains + 5000)[None], 256.0, Filters(notch=notch))
    assert cleaned.shape == (1, 200 * 60) and notes == []
    middle = cleaned[0, 2000:-2000]
    assert power_at(middle, 200.0, 10.0) > 0.99
    assert middle.std() == pytest.approx(wanted.std(), rel=0.02)


def test_steps_that_the_rate_cannot_carry_are_left_out_with_a_note():
    assert possible_steps(160.0, Filters()) == (75.0, 50.0, [])
    low_pass, notch, notes = possible_steps(128.0, Filters())
    assert (low_pass, notch) == (None, 50.0) and "128 Hz" in notes[0]
    low_pass, notch, notes = possible_steps(100.0, Filters())
    assert (low_pass, notch, len(notes)) == (None, None, 2)
    for rate in (100.0, 128.0, 150.0, 151.0, 160.0):
        cleaned, _ = filter_and_resample(noise(1, rate, 40.0), rate, Filters())
        assert cleaned.shape == (1, 8000) and np.isfinite(cleaned).all()


def test_a_montage_that_is_asked_for_comes_in_its_order_or_not_at_all():
    raw = raw_of(noise(3, 200.0, 40.0), 200.0, ["EEG T3-REF", "EEG CZ-REF", "EEG EKG-REF"])
    assert clean(raw, ["CZ", "T3"]).electrodes == ("CZ", "T3")
    assert clean(raw, aliases=OLD_TO_NEW).electrodes == ("T7", "CZ")
    first, second = clean(raw, ["CZ", "T3"]).eeg, clean(raw, ["T3", "CZ"]).eeg
    np.testing.assert_array_equal(first, second[::-1])
    with pytest.raises(InputError, match="lacks PZ"):
        clean(raw, ["CZ", "PZ"])
    with pytest.raises(InputError, match="known electrode"):
        clean(raw_of(noise(1, 200.0, 5.0), 200.0, ["E1"]))


def test_one_missing_value_costs_no_more_than_its_neighbourhood():
    signal = noise(6, 200.0, 60.0)
    signal[2, 4000:4010] = np.nan
    cleaned = clean(raw_of(signal, 200.0, annotations=[(50.0, 2.0, "BAD_muscle"), (10.0, 1.0, "T1")]))
    assert np.isfinite(cleaned.eeg).all()
    np.testing.assert_allclose(cleaned.damage.lost, [[20.0, 20.05], [50.0, 52.0]])


def test_without_filters_samples_stay_as_they_are():
    signal = noise(6, 200.0, 5.0) * 1000
    taken = clean(raw_of(signal, 200.0), filters=None, limits=FINITE_ONLY)
    np.testing.assert_allclose(taken.eeg, signal, rtol=1e-6)
    with pytest.raises(InputError, match="128 Hz"):
        clean(raw_of(noise(6, 128.0, 5.0), 128.0), filters=None)


def test_volts_taken_for_microvolts_are_refused():
    with pytest.raises(InputError, match="implausible"):
        clean(raw_of(noise(6, 200.0, 5.0) * 1e6, 200.0, MONTAGE))
