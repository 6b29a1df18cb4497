"""A shuffled order that no list holds: each number once, in another order for another key, and no pattern."""

import numpy as np
import pytest

from labram_jax.data.permutation import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 10, 99, 100, 101, 4096])
def test_every_number_stands_at_one_place(size):
    assert sorted(Permutation(size, (0,))[place] for place in range(size)) == list(range(size))


def test_the_order_is_the_key_s():
    orders = [[Permutation(500, key)[place] for place in range(500)] for key in ((1, 2), (1, 2), (2, 1))]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != list(range(500))


def test_neighbours_end_anywhere():
    size = 100_000
    found = Permutation(size, (7,))
    numbers = np.array([found[place] for place in range(20_000)])
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.03
    assert np.bincount(numbers * 10 // size, minlength=10) == pytest.approx(2000, abs=200)
    # Gaps between neighbours are those of two numbers drawn at random: a third of the range on average.
    assert np.abs(np.diff(numbers)).mean() == pytest.approx(size / 3, rel=0.02)


def test_small_orders_are_all_met_about_equally_often():
    found = [tuple(Permutation(3, (key,))[place] for place in range(3)) for key in range(3000)]
    counts = np.unique(found, axis=0, return_counts=True)[1]
    assert len(counts) == 6 and counts.min() > 350


def test_memory_grows_with_the_root_of_the_size():
    def held(size):
        return sum(len(function) * function.itemsize for function in Permutation(size, (0,))._functions)

    assert held(9_000_000) == 4 * 4 * 3000
