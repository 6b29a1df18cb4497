"""What is found wrong with windows."""

import numpy as np
import pytest
from made_up import noise

from data_prep.plan import FINITE_ONLY, QualityLimits
from data_prep.quality import Damage, judge, runs, saturated_runs, typical_microvolts

LIMITS = QualityLimits()


@pytest.fixture
def window():
    return noise(20, 200.0, 4.0).astype(np.float32)


def test_a_good_window_passes(window):
    verdict = judge(window, 0.0, Damage(), LIMITS)
    assert verdict.reason is None and not verdict.bad


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [(lambda eeg: eeg * 0, "flat"), (lambda eeg: eeg * 1000, "implausible amplitude")],
)
def test_a_few_bad_electrodes_are_counted_and_many_drop_the_window(window, spoil, kind):
    window[:2] = spoil(window[:2])
    verdict = judge(window, 0.0, Damage(), LIMITS)
    assert verdict.reason is None and verdict.bad == {kind: 2}
    window[2] = spoil(window[2])
    assert judge(window, 0.0, Damage(), LIMITS).reason == f"bad electrodes ({kind})"
    assert judge(window, 0.0, Damage(), FINITE_ONLY).reason is None


def test_lost_samples_drop_the_windows_they_touch(window):
    damage = Damage(lost=np.array([[10.0, 10.5]]))
    reasons = [judge(window, start, damage, FINITE_ONLY).reason for start in (5.9, 6.1, 10.4, 10.5)]
    assert reasons == [None, "lost samples", "lost samples", None]
    window[3, 7] = np.inf
    assert judge(window, 0.0, Damage(), FINITE_ONLY).reason == "lost samples"


def test_clipping_is_found_before_filtering_and_charged_to_its_windows(window):
    raw = noise(20, 500.0, 20.0, seed=1)
    raw[:5, 5000:7000] = np.clip(raw[:5, 5000:7000] * 20, -150, 150)
    found = saturated_runs(raw, 500.0, LIMITS)
    assert [len(electrode) > 0 for electrode in found] == [True] * 5 + [False] * 15
    damage = Damage(saturated=found)
    assert judge(window, 0.0, damage, LIMITS).reason is None
    verdict = judge(window, 10.0, damage, LIMITS)
    assert verdict.reason == "bad electrodes (clipped)" and verdict.bad["clipped"] == 5


def test_a_signal_of_few_levels_is_not_taken_for_clipped():
    coarse = np.round(noise(4, 200.0, 20.0) / 10) * 10
    window = coarse[:, :800].astype(np.float32)
    assert judge(window, 0.0, Damage(saturated=saturated_runs(coarse, 200.0, LIMITS)), LIMITS).reason is None


def test_runs():
    assert runs(np.array([True, True, False, True])).tolist() == [[0, 2], [3, 4]]
    assert runs(np.zeros(3, dtype=bool)).shape == (0, 2)


def test_typical_amplitude_ignores_offsets_and_drift():
    eeg = noise(4, 200.0, 20.0)
    drift = 1e4 + np.linspace(0, 500, eeg.shape[1])
    assert typical_microvolts(eeg + drift, 200.0) == pytest.approx(typical_microvolts(eeg, 200.0), rel=0.1)
    assert typical_microvolts(eeg[:, :100], 200.0) is None
