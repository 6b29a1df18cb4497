"""Cleaning: pieces, electrodes, filters, rate and what is lost."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import MONTAGE, noise, raw_of, reader_of
from sentences import refuses

from labram_jax.data.schema import FINITE_ONLY, QUALITY
from labram_jax.data_prep.cleaning.channels import derivation
from labram_jax.data_prep.cleaning.clean import clean
from labram_jax.data_prep.cleaning.filtering import filter_and_resample, filter_notes, possible_steps
from labram_jax.data_prep.recipe import Cap, Filters, Recipe
from labram_jax.montage import OLD_TO_NEW

EXACT = Recipe(dtype="float32")
AS_IT_IS = Recipe(dtype="float32", filters=None, quality=FINITE_ONLY)


def power_at(signal: np.ndarray, rate: float, frequency: float) -> float:
    spectrum = np.abs(np.fft.rfft(signal - signal.mean())) ** 2
    near = np.abs(np.fft.rfftfreq(len(signal), 1 / rate) - frequency) < 0.3
    return spectrum[near].sum() / spectrum.sum()


def alone(microvolts: np.ndarray, rate: float, recipe: Recipe = EXACT) -> np.ndarray:
    """Returns what a stretch of a recording gives when it is all there is."""
    (piece,) = clean(reader_of(microvolts, rate), recipe).pieces
    return piece.eeg


def rows_with(quality: np.ndarray, kind: str) -> list[int]:
    """Returns the seconds in which any electrode has a flag."""
    return np.flatnonzero((quality & QUALITY[kind]).any(axis=1)).tolist()


def test_it_equals_the_published_recipe_in_mne():
    signal = noise(6, 500.0, 60.0)
    cleaned = clean(reader_of(signal, 500.0), EXACT)
    reference = raw_of(signal, 500.0).filter(0.1, 75.0, verbose="ERROR").notch_filter(50.0, verbose="ERROR")
    reference = reference.resample(200, verbose="ERROR").get_data() * 1e6
    assert cleaned.electrodes == ("FP1", "FP2", "C3", "C4", "O1", "O2")
    assert (cleaned.seconds, cleaned.lost_seconds, cleaned.notes) == (60.0, 0.0, ())
    (piece,) = cleaned.pieces
    assert piece.start_seconds == 0 and piece.eeg.dtype == np.float32 and not piece.quality.any()
    np.testing.assert_allclose(piece.eeg, reference, atol=1e-4)


@pytest.mark.parametrize("notch", [50.0, 60.0])
def test_mains_and_offset_go_and_alpha_stays(notch):
    time = np.arange(256 * 60) / 256
    wanted = 30 * np.sin(2 * np.pi * 10 * time)
    mains = 80 * np.sin(2 * np.pi * notch * time)
    cleaned = filter_and_resample((wanted + mains + 5000)[None], 256.0, Filters(notch=notch))
    assert cleaned.shape == (1, 200 * 60)
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
        cleaned = filter_and_resample(noise(1, rate, 40.0), rate, Filters())
        assert cleaned.shape == (1, 8000) and np.isfinite(cleaned).all()
    assert not filter_notes(34 * 200, 200.0, Filters())
    assert "33 s" in filter_notes(32 * 200, 200.0, Filters())[0]


# What breaks a recording: a stretch that is lost, one that the header leaves out, and a join of no length.
@pytest.mark.parametrize("rate", [200.0, 250.0, 512.0])
@pytest.mark.parametrize(("break_seconds", "lost"), [(10.0, True), (10.0, False), (0.0, False)])
def test_each_side_of_a_break_is_what_it_is_alone(rate, break_seconds, lost):
    signal = noise(6, rate, 90.0) + 800.0
    stop, start = round(40.3 * rate), round((40.3 + break_seconds) * rate)
    signal[:, start:] -= 1600.0
    signal[:, stop:start] = np.nan if lost else 0.0
    end = signal.shape[1]
    pieces = ((0, end),) if lost else ((0, stop), (start, end))
    cleaned = clean(reader_of(signal, rate, pieces=pieces), EXACT)
    first, second = cleaned.pieces
    np.testing.assert_array_equal(first.eeg, alone(signal[:, :stop], rate))
    np.testing.assert_array_equal(second.eeg, alone(signal[:, start:], rate))
    assert (first.start_seconds, second.start_seconds) == (0.0, start / rate)
    assert not first.quality.any() and not second.quality.any()
    assert cleaned.lost_seconds == pytest.approx((start - stop) / rate)


@pytest.mark.parametrize("rate", [200.0, 256.0, 1000.0])
def test_an_electrode_that_is_lost_for_a_while_costs_itself_alone(rate):
    signal = noise(6, rate, 60.0)
    whole = alone(signal, rate)
    stop, start = round(20.25 * rate), round(20.5 * rate)
    spoilt = signal.copy()
    spoilt[2] += 500.0
    spoilt[2, stop:start] = np.inf
    (piece,) = clean(reader_of(spoilt, rate), EXACT).pieces
    others = [0, 1, 3, 4, 5]
    np.testing.assert_array_equal(piece.eeg[others], whole[others])
    lost = piece.quality & QUALITY["lost"]
    assert not piece.quality[:, others].any() and np.flatnonzero(lost[:, 2]).tolist() == [20]
    np.testing.assert_array_equal(piece.eeg[2, :4050], alone(spoilt[2:3, :stop].repeat(6, axis=0), rate)[0, :4050])
    np.testing.assert_array_equal(piece.eeg[2, 4100:], alone(spoilt[2:3, start:].repeat(6, axis=0), rate)[0])
    assert np.isfinite(piece.eeg).all() and not piece.eeg[2, 4055:4095].any()


def test_constants_cut_nothing():
    """As EDF fills up its last record: such a recording is filtered whole, as the official scripts do."""
    signal = noise(6, 200.0, 30.0)
    signal[:, :300], signal[:, 3000:3300], signal[:, -400:-10] = signal[:, 300:301], 5.0, 0.0
    (piece,) = clean(reader_of(signal, 200.0), EXACT).pieces
    np.testing.assert_array_equal(piece.eeg, alone(signal, 200.0))


@pytest.mark.parametrize("rate", [1 / 30, 9.9])
def test_a_rate_that_no_eeg_has_is_refused(rate):
    with refuses("samples a second, too few for EEG"):
        clean(reader_of(noise(6, 200.0, 20.0), rate), EXACT)


def test_scattered_losses_between_which_no_second_is_left():
    signal = noise(6, 250.0, 60.0)
    signal[1, 5000:7000:200] = np.nan
    (piece,) = clean(reader_of(signal, 250.0), EXACT).pieces
    assert np.isfinite(piece.eeg).all() and not piece.eeg[1, 4000:5440].any()
    assert rows_with(piece.quality, "lost") == list(range(20, 28))
    assert not rows_with(piece.quality, "flat")


def test_a_single_lost_sample_is_told_at_any_rate():
    for rate, sample in ((2000.0, 20_003), (200.0, 2000), (250.0, 2499)):
        signal = noise(6, rate, 40.0)
        signal[3, sample] = np.nan
        (piece,) = clean(reader_of(signal, rate), EXACT).pieces
        assert rows_with(piece.quality, "lost") == [int(sample / rate)]


def test_pieces_of_odd_lengths_fill_their_samples():
    for rate in (128.0, 250.0, 499.5, 1000.0):
        signal = noise(2, rate, 60.0)
        for stop in range(7001, 7006):
            spoilt = signal.copy()
            spoilt[0, 3001:3300] = np.nan
            (piece,) = clean(reader_of(spoilt[:, :stop], rate, ("C3", "C4")), EXACT).pieces
            last = piece.quality[-1, 0]
            assert not last & QUALITY["lost"] and piece.eeg[0, -1] != 0
            assert len(piece.quality) == -(-piece.eeg.shape[1] // 200)


def test_short_pieces_are_left_out_and_counted():
    signal = noise(6, 200.0, 60.0)
    signal[:, 8000:8100] = np.nan
    signal[:, 8250:8300] = np.nan
    cleaned = clean(reader_of(signal), EXACT)
    assert [(piece.start_seconds, piece.eeg.shape[1]) for piece in cleaned.pieces] == [(0.0, 8000), (41.5, 3700)]
    assert cleaned.lost_seconds == pytest.approx(1.5)
    assert any("shorter than a second were left out (1)" in note for note in cleaned.notes)
    assert sum("high-pass" in note for note in cleaned.notes) == 1
    signal[:, ::150] = np.nan
    with refuses("no second of continuous signal"):
        clean(reader_of(signal), EXACT)
    with refuses("no second of continuous signal"):
        clean(reader_of(signal[:, 1:150]), EXACT)


def test_a_montage_that_is_asked_for_comes_in_its_order_or_not_at_all():
    reader = reader_of(noise(3, 200.0, 40.0), 200.0, ["EEG T3-REF", "EEG CZ-REF", "EEG EKG-REF"])
    assert clean(reader, replace(EXACT, electrodes=("CZ", "T3"))).electrodes == ("CZ", "T3")
    assert clean(reader, replace(EXACT, aliases=OLD_TO_NEW)).electrodes == ("T7", "CZ")
    first, second = clean(reader, EXACT, ["CZ", "T3"]), clean(reader, EXACT, ["T3", "CZ"])
    np.testing.assert_array_equal(first.pieces[0].eeg, second.pieces[0].eeg[::-1])
    with refuses("lacks PZ"):
        clean(reader, replace(EXACT, electrodes=("CZ", "PZ")))


def test_without_filters_samples_stay_as_they_are():
    signal = noise(6, 200.0, 5.0) * 1000
    np.testing.assert_allclose(clean(reader_of(signal), AS_IT_IS).pieces[0].eeg, signal, rtol=1e-6)
    with refuses("128 Hz"):
        clean(reader_of(noise(6, 128.0, 5.0), 128.0), AS_IT_IS)


@pytest.mark.parametrize(("block", "group"), [(2**25, 30_000), (6 * 512, 2**23), (600, 600)])
def test_reading_in_parts_changes_nothing(block, group, monkeypatch):
    signal = noise(6, 256.0, 40.0)
    signal[:4, 3000:3100] = np.nan
    signal[:, 5000:5100] = np.nan
    signal[5, 100:130] = signal[5].max() + 100
    whole = clean(reader_of(signal, 256.0), EXACT)
    monkeypatch.setattr("labram_jax.data_prep.cleaning.unfiltered.BLOCK_SAMPLES", block)
    monkeypatch.setattr("labram_jax.data_prep.cleaning.unfiltered.GROUP_SAMPLES", group)
    parts = clean(reader_of(signal, 256.0), EXACT)
    assert len(whole.pieces) == 2 and whole.notes == parts.notes
    for one, other in zip(whole.pieces, parts.pieces, strict=True):
        assert one.start_seconds == other.start_seconds
        np.testing.assert_array_equal(one.eeg, other.eeg)
        np.testing.assert_array_equal(one.quality, other.quality)


def test_interpolated_electrodes_are_cleaned_like_recorded_ones(monkeypatch):
    sockets = [f"A{number}" for number in range(1, 33)]
    signal = noise(32, 250.0, 40.0)
    signal[:, 5000:5250] = np.nan
    signal[4] += 1e6
    recipe = replace(EXACT, cap=Cap("biosemi32", method="spline"), electrodes=("CZ", "C3"))
    reader = reader_of(signal, 250.0, sockets, marked_bad=frozenset({"A5"}))
    weights = derivation(reader.header, recipe).weights
    interpolated = weights @ np.delete(signal, 4, axis=0)
    expected = clean(reader_of(interpolated, 250.0, ("CZ", "C3")), EXACT).pieces
    for block in (2**25, 700):
        monkeypatch.setattr("labram_jax.data_prep.cleaning.unfiltered.BLOCK_SAMPLES", block)
        found = clean(reader, recipe)
        assert found.electrodes == ("CZ", "C3") and [piece.start_seconds for piece in found.pieces] == [0.0, 21.0]
        for one, other in zip(found.pieces, expected, strict=True):
            np.testing.assert_allclose(one.eeg, other.eeg, atol=1e-4)
            np.testing.assert_array_equal(one.quality, other.quality)


def test_another_unit_is_refused_for_most_and_told_of_one():
    signal = noise(6, 200.0, 40.0)
    with refuses("implausible"):
        clean(reader_of(signal * 1e6), EXACT)
    with refuses("implausible"):
        clean(reader_of(signal * 1e-6), EXACT)
    kept = clean(reader_of(signal * 1e6), replace(EXACT, quality=FINITE_ONLY))
    assert any("implausible" in note for note in kept.notes) and not kept.pieces[0].quality.any()
    for factor, flag in ((1e6, "implausible amplitude"), (0.01, "implausible amplitude"), (1e-3, "flat")):
        one = signal.copy()
        one[4] *= factor
        cleaned = clean(reader_of(one), EXACT)
        assert [note.startswith("O1 is too") for note in cleaned.notes] == [True]
        flagged = (cleaned.pieces[0].quality & QUALITY[flag]) != 0
        assert flagged.all(axis=0).tolist() == [False, False, False, False, True, False]


def test_marked_electrodes_are_flagged_throughout_and_do_not_count():
    signal = noise(3, 200.0, 40.0)
    signal[0] *= 1e6
    signal[1:, 4000:4200] = np.nan
    reader = reader_of(signal, names=MONTAGE[:3], marked_bad=frozenset({"Fp1"}))
    for recipe in (EXACT, replace(EXACT, quality=FINITE_ONLY)):
        cleaned = clean(reader, recipe)
        assert [piece.start_seconds for piece in cleaned.pieces] == [0.0, 21.0]  # cut where all others are lost
        assert not any("unit" in note for note in cleaned.notes)
        marked = cleaned.pieces[0].quality & QUALITY["marked bad"]
        assert (marked != 0).all(axis=0).tolist() == [True, False, False]
    with refuses("All of its 3 electrodes are marked"):
        clean(reader_of(signal, names=MONTAGE[:3], marked_bad=frozenset(MONTAGE[:3])), EXACT)


def test_what_the_stored_type_cannot_hold_is_lost():
    signal = noise(6, 200.0, 10.0)
    signal[1, 850:860] = -1e6
    narrow = clean(reader_of(signal), replace(AS_IT_IS, dtype="float16")).pieces[0]
    assert narrow.eeg.dtype == np.float16 and narrow.eeg[1].min() == np.finfo(np.float16).min
    assert rows_with(narrow.quality, "lost") == [4] and not narrow.quality[:, 0].any()
    wide = clean(reader_of(signal), AS_IT_IS).pieces[0]
    assert wide.eeg[1].min() == -1e6 and not wide.quality.any()
    signal[1, 850] = 1e300
    assert rows_with(clean(reader_of(signal), AS_IT_IS).pieces[0].quality, "lost") == [4]


def test_margins_go_around():
    signal = noise(6, 200.0, 30.5)
    signal[0, 5880] = np.nan
    recipe = replace(AS_IT_IS, margins_seconds=(2.0, 2.0))
    whole, (piece,) = clean(reader_of(signal), AS_IT_IS).pieces[0], clean(reader_of(signal), recipe).pieces
    assert piece.start_seconds == -2.0 and piece.eeg.shape == (6, 6900)
    np.testing.assert_array_equal(piece.eeg, np.take(whole.eeg, np.arange(-400, 6500), axis=1, mode="wrap"))
    # The seconds before the start begin in the middle of those that they come from, and so the lost one is in both.
    assert rows_with(whole.quality, "lost") == [29] and rows_with(piece.quality, "lost") == [0, 1, 31]
    short = clean(reader_of(signal[:, :250]), replace(recipe, margins_seconds=(2.0, 3.0))).pieces[0]
    np.testing.assert_array_equal(
        short.eeg, np.take(signal[:, :250].astype(np.float32), np.arange(-400, 850), axis=1, mode="wrap")
    )


def test_margins_of_a_recording_in_pieces_come_from_its_ends():
    signal = noise(6, 200.0, 30.0)
    pieces = ((0, 1000), (2000, 3000), (3200, 6000))
    first, middle, last = clean(reader_of(signal, pieces=pieces), replace(AS_IT_IS, margins_seconds=(1.0, 2.0))).pieces
    signal = signal.astype(np.float32)
    assert [piece.start_seconds for piece in (first, middle, last)] == [-1.0, 10.0, 16.0]
    np.testing.assert_array_equal(first.eeg, np.concatenate([signal[:, 5800:], signal[:, :1000]], axis=1))
    np.testing.assert_array_equal(middle.eeg, signal[:, 2000:3000])
    np.testing.assert_array_equal(last.eeg, np.concatenate([signal[:, 3200:], signal[:, :400]], axis=1))
