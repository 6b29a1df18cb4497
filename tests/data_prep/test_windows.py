"""Where windows begin."""

import numpy as np
import pytest

from data_prep import windows
from data_prep.plan import CorpusPlan, Span
from labram_jax.errors import InputError


def test_windows_lie_whole_in_their_span():
    starts = windows.span_starts(Span(1.0, 9.9), length=4000, window=400, stride=400)
    assert starts.tolist() == [200, 600, 1000, 1400]
    assert windows.span_starts(Span(1.0), 1000, 400, 200).tolist() == [200, 400, 600]
    assert windows.span_starts(Span(0.0, 99.0), 1000, 400, 400).tolist() == [0, 400]
    assert windows.span_starts(Span(0.0, 1.9), 1000, 400, 400).tolist() == []


def test_seconds_lose_no_sample_to_rounding():
    # 0.1 * 3 is a little more than 0.3, and 2.3 - 0.3 a little less than 2.
    assert windows.span_starts(Span(0.1 * 3, 2.3), 1000, 400, 400).tolist() == [60]


def test_two_spans_that_share_a_boundary_share_no_sample():
    cut = 70.123
    before = windows.span_starts(Span(0.0, cut), 20_000, 800, 200)
    after = windows.span_starts(Span(cut), 20_000, 800, 200)
    assert before.max() + 800 <= cut * 200 <= after.min()


def test_a_span_may_wrap_around():
    span = Span(-1.0, 4.0)
    assert windows.span_starts(span, 600, 1000, 1000, wrap=True).tolist() == [-200]
    assert windows.span_starts(span, 600, 1000, 1000).tolist() == []
    eeg = np.arange(600, dtype=np.float32)[None]
    expected = np.concatenate([eeg, eeg, eeg], axis=1)[:, 400:1400]
    np.testing.assert_array_equal(windows.cut(eeg, -200, 1000), expected)


@pytest.mark.parametrize(
    ("length", "fractions", "expected"),
    [
        (2050, (0, 1), [0, 200, 400, 600, 800, 1000, 1200]),
        (2050, (0, 0.5), [0, 200, 400]),
        (2050, (0.5, 1), [600, 800, 1000, 1200]),
        (999, (0, 0.5), [0]),  # the only window is in both halves
        (999, (0.5, 1), [0]),
        (700, (0, 1), []),
        (100, (0, 0.5), []),
    ],
)
def test_official_counting(length, fractions, expected):
    assert windows.official_starts(length, 800, 200, *fractions).tolist() == expected


def test_a_plan_chooses_stride_and_counting():
    grid = CorpusPlan("a", (), stride_seconds=0.5)
    assert windows.starts(grid, Span(), 600, 2).tolist() == [0, 100, 200]
    official = CorpusPlan("a", (), align="official", official_range=(0.5, 1.0))
    assert windows.starts(official, Span(), 1600, 2).tolist() == [800, 1200]
    with pytest.raises(InputError, match="stride_seconds"):
        windows.starts(CorpusPlan("a", (), stride_seconds=0.001), Span(), 600, 2)


@pytest.mark.parametrize(("electrodes", "seconds"), [(64, 4), (62, 4), (32, 8), (19, 13), (3, 16), (128, 2)])
def test_default_length_makes_about_256_patches(electrodes, seconds):
    assert windows.default_seconds(electrodes) == seconds
