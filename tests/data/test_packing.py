from collections import Counter

import numpy as np
import pytest

from labram_jax.data.packing import EvaluationRows, TrainingRows, apportion, pack
from labram_jax.data.windows import default_seconds

# Electrodes of eight corpora as they are met in practice, and how much of each there is.
ELECTRODES = (19, 21, 23, 32, 62, 64, 8, 2)
SHARES = {
    "equal": (1, 1, 1, 1, 1, 1, 1, 1),
    "unequal": (5, 1, 10, 2, 3, 8, 1, 0.5),
    "few short": (1, 1, 1, 1, 8, 8, 0.1, 0.1),
}
# Seconds of their windows, and patch slots and segments of a row.
MIXES = {
    "as prepared by default": ([default_seconds(electrodes) for electrodes in ELECTRODES], 256, 8),
    "as prepared by default, longer rows": ([default_seconds(electrodes) for electrodes in ELECTRODES], 512, 8),
    "all of four seconds": ([4] * 8, 512, 8),
    "all of four seconds, few places": ([4] * 8, 1024, 16),
    "various": ([13, 10, 10, 8, 4, 4, 16, 16], 512, 8),
    "various, few places": ([5, 4, 10, 5, 2, 3, 7, 11], 1024, 16),
}


@pytest.mark.parametrize("shares", SHARES)
@pytest.mark.parametrize("mix", MIXES)
def test_little_is_padded_over_eight_montages_and_nothing_overlaps(mix, shares):
    seconds, slots, segments = MIXES[mix]
    lengths = [electrodes * second for electrodes, second in zip(ELECTRODES, seconds, strict=True)]
    rows = TrainingRows(lengths, [50] * 8, SHARES[shares], slots, segments, seed=0)
    assert rows.padding < 0.05
    filled, drawn = 0, Counter()
    for index in range(len(rows.templates)):
        row = rows[index]
        ends = [placement.slot + lengths[placement.source] for placement in row]
        assert 1 <= len(row) <= segments
        assert [placement.slot for placement in row] == [0, *ends[:-1]] and ends[-1] <= slots
        filled += ends[-1]
        drawn.update(placement.source for placement in row)
    assert [drawn[source] for source in range(8)] == rows.counts.tolist()
    assert rows.padding == pytest.approx(1 - filled / (slots * len(rows.templates)))


def test_where_places_are_scarce_long_windows_share_rows_with_short_ones():
    """Two long ones would fill a row: 10 such rows, and 15 more of four short ones each."""
    assert pack([100, 10], [20, 60], patch_slots=200, segments=4) == ((0, 1, 1, 1),) * 20


@pytest.mark.parametrize(
    ("lengths", "shape", "better"),
    [
        ([230], (256, 1), (230, 1)),
        ([252, 128, 32], (256, 1), (256, 8)),
        ([248, 256], (256, 8), (504, 8)),
        ([256], (256, 1), None),
    ],
)
def test_rows_that_waste_much_know_a_better_shape(lengths, shape, better):
    rows = TrainingRows(lengths, [50] * len(lengths), [1] * len(lengths), *shape, seed=0)
    tighter = rows.tighter()
    assert better == (tighter and (tighter.patch_slots, tighter.segments))
    assert better is None or tighter.padding < rows.padding - 0.01


@pytest.mark.parametrize("windows", [7, 300])
def test_every_epoch_of_a_source_has_each_window_once_in_another_order(windows):
    rows = TrainingRows([4, 6], [windows, 1000], [0.4, 0.6], 16, 3, seed=5, cycle_windows=32)
    seen, index = [], 0
    while len(seen) < 2 * windows:
        seen += [placement.window for placement in rows[index] if placement.source == 0]
        index += 1
    first, second = seen[:windows], seen[windows : 2 * windows]
    assert sorted(first) == sorted(second) == list(range(windows))
    assert first != second and first != sorted(first)


def test_sources_appear_by_share_and_mix_in_every_stretch():
    rows = TrainingRows([8, 8, 8], [10, 100, 1000], [1, 2, 5], patch_slots=8, segments=1, seed=1)
    for start in (0, 10_000, 123_456):
        counts = Counter(placement.source for i in range(start, start + 800) for placement in rows[i])
        np.testing.assert_allclose([counts[0], counts[1], counts[2]], [100, 200, 500], atol=60)


def test_every_cycle_takes_its_rows_in_another_order():
    rows = TrainingRows([6, 9, 4], [40, 50, 60], [1, 1, 1], 20, 4, seed=0, cycle_windows=64)
    cycle = len(rows.templates)
    first, second = (
        [tuple(placement.source for placement in rows[index]) for index in range(start, start + cycle)]
        for start in (0, cycle)
    )
    assert first != second and sorted(first) == sorted(second) == sorted(rows.templates)


def test_a_row_is_a_function_of_seed_and_index_alone():
    arguments = ([6, 9, 4], [40, 50, 60], [1, 1, 1], 20, 4)
    forward = TrainingRows(*arguments, seed=3, cycle_windows=64)
    expected = [forward[index] for index in range(200)]
    backward = TrainingRows(*arguments, seed=3, cycle_windows=64)
    assert [backward[index] for index in reversed(range(200))] == expected[::-1]
    assert [TrainingRows(*arguments, seed=4, cycle_windows=64)[index] for index in range(200)] != expected


def test_a_row_takes_no_more_windows_than_segments():
    rows = TrainingRows([2], [10], [1], patch_slots=100, segments=3, seed=0, cycle_windows=10)
    assert sorted(len(row) for row in rows.templates) == [1, 3, 3, 3]


def test_shares_are_apportioned_by_largest_remainder_and_nobody_is_left_out():
    np.testing.assert_array_equal(apportion([1, 1, 1], 10), [4, 3, 3])
    np.testing.assert_array_equal(apportion([0.46, 0.27, 0.27], 10), [4, 3, 3])
    np.testing.assert_array_equal(apportion([1e6, 1], 100), [100, 1])


def test_evaluation_holds_every_window_once_in_order():
    rows = EvaluationRows([5, 3, 16], [7, 4, 2], patch_slots=16, segments=2)
    placements = [placement for index in range(len(rows)) for placement in rows[index]]
    assert [(p.source, p.window) for p in placements] == [
        *((0, window) for window in range(7)),
        *((1, window) for window in range(4)),
        *((2, window) for window in range(2)),
    ]
    assert len(rows) == 4 + 2 + 2
    assert [p.slot for p in rows[0]] == [0, 5] and [p.slot for p in rows[3]] == [0]
