"""Results on their way from the devices to the host, which must not wait for what it has only just dispatched."""

from collections import deque
from typing import Any

import jax

PyTree = Any

# Results that may be outstanding: enough for devices to go on while the host is busy with something else, and few
# enough that the batches of dispatched programs fit beside the state.
BEHIND = 4


class Readback:
    """Takes results in order and gives them back on the host, in order, when `behind` later ones have come.

    So the host does not wait for the last programs, and never runs further ahead of the devices than that either.
    """

    def __init__(self, behind: int = BEHIND):
        self._behind = behind
        self._waiting: deque[tuple[Any, PyTree]] = deque()

    def add(self, which: Any, result: PyTree) -> list[tuple[Any, PyTree]]:
        """Takes the result (a pytree) of the program `which`; returns those that are due, as numpy arrays."""
        for leaf in jax.tree.leaves(result):
            leaf.copy_to_host_async()
        self._waiting.append((which, result))
        return self._read(self._behind)

    def rest(self) -> list[tuple[Any, PyTree]]:
        """All results that are still outstanding; waits for them."""
        return self._read(0)

    def _read(self, leave: int) -> list[tuple[Any, PyTree]]:
        count = max(0, len(self._waiting) - leave)
        return [(which, jax.device_get(result)) for which, result in (self._waiting.popleft() for _ in range(count))]
