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
        read: gives the batches from the first one on; called when the first is wanted.
        mesh: the devices.

    Attributes:
        waited: seconds that the host has waited for the reader so far.
    """

    def __init__(self, read: Callable[[], Iterator[Mapping[str, np.ndarray]]], mesh: Mesh):
        self._read, self._mesh = read, mesh
        self._batches: Iterator[Mapping[str, np.ndarray]] | None = None
        self.waited = 0.0

    def put_next(self, count: int) -> Batch | None:
        """The next batch, or the next `count` > 1 of them stacked, for one program; None where the data ended."""
        begin = time.monotonic()
        if self._batches is None:
            self._batches = self._read()
        batches = list(itertools.islice(self._batches, count))
        self.waited += time.monotonic() - begin
        if len(batches) < count:
            return None
        if count == 1:
            return put_batch(batches[0], self._mesh)
        stacked = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
        return put_batch(stacked, self._mesh, stacked=True)
