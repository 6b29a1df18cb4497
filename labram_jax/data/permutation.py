"""A shuffled order of which no list is held."""

import math
from array import array

import numpy as np

# Four rounds of a Feistel cipher with random functions cannot be told from a random order (Luby and Rackoff, 1988).
_ROUNDS = 4


class Permutation:
    """A pseudo-random order of the numbers below `size`; each place of it is computed by itself.

    A number is a pair of digits to the base `ceil(sqrt(size))`, and the cipher moves pairs; from a pair beyond `size`
    it goes on until it is back. Memory grows with the root of `size`: 48 kB for 9 million. `key` (whole numbers that
    are not negative) decides the order.
    """

    def __init__(self, size: int, key: tuple[int, ...]):
        self._size, self._base = size, math.isqrt(max(size - 1, 0)) + 1
        functions = np.random.default_rng(key).integers(self._base, size=(_ROUNDS, self._base), dtype=np.int32)
        self._functions = [array("i", row.tobytes()) for row in functions]

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, place: int) -> int:
        """Returns the number at a place from 0 to `size` - 1."""
        base, number = self._base, place
        while True:
            left, right = divmod(number, base)
            for function in self._functions:
                left, right = right, (left + function[right]) % base
            number = left * base + right
            if number < self._size:
                return number
