"""Batches on their way to the devices, one program ahead of the one that needs them."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np
from jax.sharding import Mesh

from labram_jax.parallel.sharding import put_batch
from labram_jax.stages.stage import Batch


class Feed:
    """Reads batches and puts them on the devices, which are busy with the program before meanwhile.

    Args:
        loader: step -> batches from that step on; called when the first is wanted.
        mesh: the devices.
        start: the step of the first batch.

    Attributes:
        waited: seconds that the host has waited for the reader so far.
    """

    def __init__(self, loader: Callable[[int], Iterator[Mapping[str, np.ndarray]]], mesh: Mesh, start: int):
        self._loader, self._mesh = loader, mesh
        self.waited = 0.0
        self.move_to(start)

    def move_to(self, step: int) -> None:
        """Goes on with the batch of `step`."""
        self._start = step
        self._batches: Iterator[Mapping[str, np.ndarray]] | None = None

    def put_next(self, count: int) -> Batch | None:
        """The next batch, or the next `count` > 1 of them stacked, for one program; None where the data ended."""
        begin = time.monotonic()
        if self._batches is None:
            self._batches = self._loader(self._start)
        batches = list(itertools.islice(self._batches, count))
        self.waited += time.monotonic() - begin
        if len(batches) < count:
            return None
        if count == 1:
            return put_batch(batches[0], self._mesh)
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        return put_batch(stacked, self._mesh, stacked=True)
