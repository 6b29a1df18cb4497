"""What is found wrong with seconds of electrodes, and with amplitudes."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import TEN20, noise, reader_of
from sentences import assert_one_sentence

from labram_jax.data.schema import FINITE_ONLY, QUALITY, QualityLimits
from labram_jax.data_prep.cleaning.clean import clean
from labram_jax.data_prep.cleaning.quality import (
    clipped_seconds,
    filtered_deviations,
    judge_seconds,
    outliers,
    runs,
    samples_in_seconds,
    second_deviations,
    suspicions,
    typical_microvolts,
)
from labram_jax.data_prep.recipe import Recipe

LIMITS = QualityLimits()


def judged(signal: np.ndarray, limits: QualityLimits = LIMITS) -> list[int]:
    return judge_seconds(signal, filtered_deviations(signal), limits).tolist()


@pytest.fixture
def signal():
    return noise(1, 200.0, 10.0)[0].astype(np.float32)


def test_good_seconds_have_no_flag(signal):
    assert judged(signal) == [0] * 10


@pytest.mark.parametrize(("factor", "kind"), [(0, "flat"), (0.001, "flat"), (1000, "implausible amplitude")])
def test_a_bad_second_is_flagged_by_itself(signal, factor, kind):
    signal[600:800] *= factor
    assert judged(signal) == [0, 0, 0, QUALITY[kind], 0, 0, 0, 0, 0, 0]


def test_the_last_second_need_not_be_whole(signal):
    for samples in (1, 3, 199):
        assert judged(signal[: 1000 + samples]) == [0] * 6
    signal[800:] = 5.0
    assert judged(signal[:1003]) == [0, 0, 0, 0, QUALITY["flat"], QUALITY["flat"]]
    signal[1002] = 3000.0
    assert judged(signal[:1003])[-1] == QUALITY["implausible amplitude"]


def test_limits_are_those_of_the_recipe(signal):
    assert judged(signal, replace(LIMITS, flat_microvolts=1000.0)) == [QUALITY["flat"]] * 10
    assert all(judged(signal, replace(LIMITS, peak_microvolts=1.0)))


def test_clipping_is_found_before_filtering_and_charged_to_its_seconds():
    raw = noise(6, 500.0, 20.0, seed=1)
    raw[:2, 5000:7000] = np.clip(raw[:2, 5000:7000] * 20, -150, 150)
    (piece,) = clean(reader_of(raw, 500.0), Recipe()).pieces
    clipped = (piece.quality & QUALITY["clipped"]) != 0
    assert not clipped[:, 2:].any() and clipped[10:14, :2].all()
    assert not clipped[:10].any() and not clipped[14:].any()
    (unjudged,) = clean(reader_of(raw, 500.0), Recipe(quality=FINITE_ONLY)).pieces
    assert not unjudged.quality.any()


def test_extremes_are_those_of_the_whole_recording():
    raw = noise(6, 200.0, 40.0)
    raw[0, 1000:1020] = 150.0
    raw[1, 6000:6020] = 150.0
    raw[:, 3000:3200] = np.nan
    raw[1, 100] = 151.0
    pieces = clean(reader_of(raw), Recipe()).pieces
    clipped = [np.argwhere(piece.quality & QUALITY["clipped"]).tolist() for piece in pieces]
    assert clipped == [[[5, 0]], []]


def test_a_signal_of_few_levels_or_one_is_not_taken_for_clipped():
    coarse = np.round(noise(1, 200.0, 20.0)[0] / 10) * 10
    assert not clipped_seconds(coarse, (coarse.min(), coarse.max()), 200.0, 20, LIMITS).any()
    assert not clipped_seconds(np.full(4000, 3.0), (3.0, 3.0), 200.0, 20, LIMITS).any()
    assert not clipped_seconds(np.full(4000, np.nan), (np.inf, -np.inf), 200.0, 20, LIMITS).any()


def test_runs_and_their_seconds():
    assert runs(np.array([True, True, False, True])).tolist() == [[0, 2], [3, 4]]
    assert runs(np.zeros(3, dtype=bool)).shape == (0, 2)
    mask = np.zeros(12, dtype=bool)
    mask[[2, 5, 11]] = True
    assert samples_in_seconds(mask, 2.5, 5).tolist() == [1, 0, 1, 0, 1]
    assert samples_in_seconds(mask, 2.5, 4).tolist() == [1, 0, 1, 1]  # what rounding put behind the last second


def test_typical_amplitude_ignores_offsets_drift_and_what_is_lost():
    eeg = noise(4, 200.0, 20.0)
    drift = 1e4 + np.linspace(0, 500, eeg.shape[1])
    typical = typical_microvolts(second_deviations(eeg, 200.0))
    np.testing.assert_allclose(typical_microvolts(second_deviations(eeg + drift, 200.0)), typical, rtol=0.1)
    eeg[0, :3000] = np.nan
    assert typical_microvolts(second_deviations(eeg, 200.0))[0] == pytest.approx(typical[0], rel=0.2)
    assert np.isnan(typical_microvolts(second_deviations(eeg[:, :100], 200.0))).all()


def test_suspicions_name_the_electrode_and_what_may_be_wrong():
    names = ["C3", "CZ", "C4", "PZ"]
    eeg = noise(4, 250.0, 20.0)
    assert suspicions(eeg, 250.0, names) == {}
    assert suspicions(eeg[:, :100], 250.0, names) == {}
    eeg[1] *= 1e3
    eeg[2] = 7.0
    found = suspicions(eeg, 250.0, names)
    assert list(found) == ["CZ", "C4"]
    assert found["CZ"].startswith("CZ is too large") and "unit" in found["CZ"] and "--unit" in found["CZ"]
    assert found["C4"] == "C4 is flat."
    eeg[3] *= 1e-6
    whole = suspicions(eeg, 250.0, names)
    assert list(whole) == [""] and "most electrodes" in whole[""]
    for sentence in (*found.values(), *whole.values()):
        assert_one_sentence(sentence)
        assert "float32" not in sentence


def test_half_of_two_electrodes_is_not_most():
    eeg = noise(2, 200.0, 20.0)
    eeg[0] *= 1e6
    assert list(suspicions(eeg, 200.0, ["C3", "C4"])) == ["C3"]


def test_one_loose_electrode_is_found_beside_the_others():
    eeg = noise(19, 200.0, 40.0)
    eeg[8, 2000:] += 900 * np.sign(np.sin(2 * np.pi * 1.3 * np.arange(6000) / 200))
    names = [f"EEG {name}" for name in TEN20]
    (piece,) = clean(reader_of(eeg, names=names), Recipe()).pieces
    bad = piece.quality != 0
    assert bad[10:, 8].all() and not bad[:9].any() and not np.delete(bad, 8, axis=1).any()
    (unjudged,) = clean(reader_of(eeg, names=names), Recipe(quality=FINITE_ONLY)).pieces
    assert not unjudged.quality.any()


def test_what_all_electrodes_share_is_no_outlier_and_the_useless_do_not_count():
    deviations = np.full((4, 5), 20.0, dtype=np.float32)
    quality = np.zeros((4, 5), dtype=np.uint8)
    deviations[0] = 900.0
    deviations[1, 2] = 900.0
    deviations[2, 2] = 150.0
    deviations[3] = [0.0, 0.0, 0.0, 20.0, 900.0]
    quality[3, :3] = QUALITY["flat"], QUALITY["lost"], QUALITY["marked bad"]
    assert np.argwhere(outliers(deviations, quality, LIMITS)).tolist() == [[1, 2]]
    quality[:] = QUALITY["lost"]
    assert not outliers(deviations, quality, LIMITS).any()
