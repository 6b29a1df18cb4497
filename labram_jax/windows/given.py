"""What users hand to a model, made into `Windows`."""

import sys
from collections.abc import Sequence
from typing import Any

from labram_jax.errors import InputError
from labram_jax.windows.checks import Bads
from labram_jax.windows.container import Windows


def as_windows(
    given: Any, electrodes: Sequence[str] | None = None, sfreq: float | None = None, bads: Bads = None
) -> Windows:
    """Windows as they are, MNE's epochs, or an array in microvolts with its electrodes and its rate.

    Raises InputError for anything else, and where something is said twice or not at all.
    """
    said = {"electrodes": electrodes, "sfreq": sfreq, "bads": bads}
    said = [name for name, value in said.items() if value is not None]
    mne = sys.modules.get("mne")  # who holds one of its objects has imported it
    if mne is not None and isinstance(given, mne.io.BaseRaw):
        raise InputError(
            "That is a whole recording of MNE: say how long its windows are, "
            "labram_jax.Windows.from_raw(raw, seconds=4)."
        )
    if mne is not None and isinstance(given, mne.Evoked):
        raise InputError("That is an average of MNE, and the models take single windows: give the epochs.")
    epochs = mne is not None and isinstance(given, mne.BaseEpochs)
    if epochs or isinstance(given, Windows):
        if said:
            raise InputError(f"Windows and epochs carry their electrodes, rate and bads: leave {said[0]} out.")
        return Windows.from_epochs(given) if epochs else given
    if electrodes is None or sfreq is None:
        missing = "electrodes" if electrodes is None else "sfreq, the samples per second,"
        raise InputError(f"An array does not say all that a model must know: give {missing} or labram_jax.Windows.")
    return Windows.from_array(given, electrodes, sfreq, bads=bads)
