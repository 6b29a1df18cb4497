"""From windows to the stream of patches that the models read: where each patch comes from, and its samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int32

from labram_jax.data.schema import SAMPLES
from labram_jax.errors import InputError
from labram_jax.montage import check_seconds, electrode_ids


class Addresses(NamedTuple):
    """Where the patches of a window come from: rows of the electrode and the time embedding, for each patch."""

    electrode_ids: Int32[np.ndarray, "patches"]
    time_ids: Int32[np.ndarray, "patches"]

    def of(self, electrodes: Bool[np.ndarray, "C"]) -> "Addresses":
        """Returns the addresses of the patches of some electrodes alone."""
        taken = np.repeat(electrodes, len(self.time_ids) // len(electrodes))
        return Addresses(self.electrode_ids[taken], self.time_ids[taken])


def addresses(electrodes: Sequence[str], seconds: int) -> Addresses:
    """Returns the addresses of a window's patches, electrode by electrode: patch = electrode * seconds + second.

    Raises InputError for unknown or repeated electrodes, and for windows shorter than 1 s or longer than 16 s.
    """
    check_seconds(seconds)
    return Addresses(
        electrode_ids=np.repeat(electrode_ids(electrodes), seconds),
        time_ids=np.tile(np.arange(seconds, dtype=np.int32), len(electrodes)),
    )


def patches(eeg: Float[np.ndarray, "*batch C samples"]) -> Float[np.ndarray, "*batch patches 200"]:
    """Returns windows in microvolts as patches of one second, likewise in microvolts.

    `samples` must be a multiple of 200 (whole seconds at 200 Hz), otherwise InputError. The patches of an
    electrode follow each other, as in `addresses`.
    """
    *batch, electrodes, samples = eeg.shape
    if samples == 0 or samples % SAMPLES:
        raise InputError(
            f"A window has {samples} samples: give whole seconds at {SAMPLES} Hz, a multiple of {SAMPLES}."
        )
    return eeg.reshape(*batch, electrodes * (samples // SAMPLES), SAMPLES)
