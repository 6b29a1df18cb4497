"""Variables and their configuration, and how windows go through them in batches of one shape."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import save_model
from labram_jax.config import ComputeConfig, EncoderConfig, size_of
from labram_jax.configfile import to_dict
from labram_jax.data import stream
from labram_jax.data.schema import SAMPLES
from labram_jax.errors import InputError
from labram_jax.models import PatchBatch, dense_batch
from labram_jax.models.patches import model_units
from labram_jax.windows import Windows
from labram_jax.windows.lengths import parts


class Model:
    """Variables, which lie on the device once, and their configuration; each shape of batches compiles once.

    It can be copied and pickled at any time: copies in one process share variables and what is compiled.
    """

    module: ClassVar[type]
    batch_windows = 32

    def __init__(
        self, variables: dict, config: Any, compute: ComputeConfig = ComputeConfig(), seen: Ledger | None = None
    ):
        self.variables = jax.tree.map(jnp.asarray, variables)
        self.config, self.compute, self.seen = config, compute, seen
        self._network = self.module(config, compute)
        self._made: dict[str, Any] = {}

    def save(self, path: str | Path) -> None:
        """Writes variables, configuration and whom the model saw to a new directory that `labram_jax.load` reads."""
        save_model(path, jax.device_get(self.variables), to_dict(self.config), self.seen)

    def __repr__(self) -> str:
        encoder: EncoderConfig = self.config.encoder
        numbers = sum(leaf.size for leaf in jax.tree.leaves(self.variables))
        size = f"{size_of(encoder)}, " if size_of(encoder) else ""
        return (
            f"<{type(self).__name__}: {size}{encoder.depth} blocks of width {encoder.width}, {numbers:,} parameters, "
            f"{self._told()}, computes in {self.compute.dtype}>"
        )

    def _told(self) -> str:
        """What the repr says of this kind of model."""
        raise NotImplementedError

    def __getstate__(self) -> dict:
        # What is compiled belongs to this process, and arrays to its devices.
        kept = {name: getattr(self, name) for name in ("config", "compute", "seen", "_network", "batch_windows")}
        return {**kept, "variables": jax.device_get(self.variables), "_made": {}}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self.variables = jax.tree.map(jnp.asarray, self.variables)

    def __deepcopy__(self, memo: dict) -> "Model":
        # Arrays of JAX never change, so a copy need not have its own; scikit-learn copies models often.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def _run(
        self, name: str, function: Callable, windows: Windows, per_patch: bool, mask: np.ndarray | None = None
    ) -> list[np.ndarray]:
        """Applies a function of (network, batch) to all windows; returns its outputs, one array each.

        Outputs `per_patch` [B, L, ...] come back as [N, C, A, ...], where those of bad electrodes are NaN, or -1 if
        they are whole numbers; others as [N, ...]. Of windows that are split, the former are put together in time, and
        the latter are averaged, weighted by seconds.
        """
        seconds = [(start, stop) for start, stop in parts(windows.seconds)]
        found = [self._run_part(name, function, windows, own, per_patch, mask) for own in seconds]
        if len(found) == 1:
            return found[0]
        outputs = zip(*found, strict=True)
        if per_patch:
            return [np.concatenate(own, axis=2) for own in outputs]
        lengths = [stop - start for start, stop in seconds]
        return [np.average(own, axis=0, weights=lengths).astype(own[0].dtype) for own in outputs]

    def _run_part(
        self,
        name: str,
        function: Callable,
        windows: Windows,
        seconds: tuple[int, int],
        per_patch: bool,
        mask: np.ndarray | None,
    ) -> list[np.ndarray]:
        compiled = self._once(name, lambda: jax.jit(lambda v, b: self._network.apply(v, b, method=function)))
        gathered = []
        for batch, order, count in self._batches(windows, seconds, mask):
            outputs = jax.device_get(jax.tree.leaves(compiled(self.variables, batch)))
            if per_patch and order is not None:
                outputs = [_put_back(out, order, batch.segment_ids) for out in outputs]
            gathered.append([out[:count] for out in outputs])
        columns = [np.concatenate(column) for column in zip(*gathered, strict=True)]
        shape = (len(windows), len(windows.electrodes), -1)
        return [out.reshape(*shape, *out.shape[2:]) for out in columns] if per_patch else columns

    def _derived(self, face: type["Model"], variables: dict, config: Any) -> "Model":
        """A model of changed variables or configuration, that computes as this one does."""
        derived = face(variables, config, self.compute, self.seen)
        derived.batch_windows = self.batch_windows
        return derived

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        """What follows from the model alone and is made when it is first asked for; copies share it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _batches(
        self, windows: Windows, seconds: tuple[int, int], mask: np.ndarray | None
    ) -> Iterator[tuple[PatchBatch, np.ndarray | None, int]]:
        """Yields batches of one shape, the order of their slots if it is not the patches', and their windows."""
        start_second, stop_second = seconds
        length = stop_second - start_second
        mask = None if mask is None else mask[..., start_second:stop_second].reshape(len(windows), -1)
        count, good = len(windows), ~windows.bads if windows.bads.any() else None
        size = min(self.batch_windows, count)
        ids = stream.addresses(windows.electrodes, length)
        for start in range(0, count, size):
            own = slice(start, min(start + size, count))
            fill = size - (own.stop - own.start)
            eeg = windows.eeg[own, :, start_second * SAMPLES : stop_second * SAMPLES]
            patches = stream.patches(_filled(eeg, fill))
            hidden = None if mask is None else _filled(mask[own], fill)
            order = None
            if good is None:
                batch = dense_batch(model_units(jnp.asarray(patches)), ids.electrode_ids[::length], mask=hidden)
            else:
                # Patches of good electrodes come first, and the others' slots are padding.
                taken = np.repeat(_filled(good[own], fill), length, axis=1)
                order = np.argsort(~taken, axis=1, kind="stable")
                batch = PatchBatch(
                    patches=model_units(jnp.asarray(np.take_along_axis(patches, order[..., None], axis=1))),
                    electrode_ids=ids.electrode_ids[order],
                    time_ids=ids.time_ids[order],
                    segment_ids=np.take_along_axis(taken, order, axis=1).astype(np.int32),
                    mask=None if hidden is None else np.take_along_axis(hidden, order, axis=1),
                )
            yield batch, order, own.stop - own.start


def check_mask(mask: np.ndarray, windows: Windows) -> np.ndarray:
    """The mask of hidden patches, booleans [N, C, A]; InputError for any other."""
    mask, expected = np.asarray(mask), (len(windows), len(windows.electrodes), windows.seconds)
    if mask.dtype != bool or mask.shape != expected:
        raise InputError(f"The mask is {mask.dtype} {mask.shape}: give booleans [N, C, A] = {expected}.")
    return mask


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    """The array with so many more rows, like its last: their results are thrown away."""
    return np.concatenate([array, np.repeat(array[-1:], rows, axis=0)]) if rows else array


def _put_back(values: np.ndarray, order: np.ndarray, segment_ids: np.ndarray) -> np.ndarray:
    """From the order of slots to that of patches; what belongs to a bad electrode is NaN, or -1."""
    nothing = np.nan if np.issubdtype(values.dtype, np.floating) else -1
    place = (slice(None), slice(None), *[None] * (values.ndim - 2))
    values = np.where(np.asarray(segment_ids)[place] > 0, values, np.asarray(nothing, values.dtype))
    result = np.empty_like(values)
    np.put_along_axis(result, np.broadcast_to(order[place], values.shape), values, axis=1)
    return result
