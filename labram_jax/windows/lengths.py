"""What becomes of windows that the models cannot take as they are: longer than 16 s, or not of whole seconds."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

from labram_jax.data.schema import RATE_HZ
from labram_jax.errors import InputError
from labram_jax.montage import MAX_SECONDS

Long = Literal["refuse", "split"]
Partial = Literal["refuse", "drop", "pad"]


def check_rules(long: str, partial: str) -> None:
    """Raises InputError for a rule that there is not."""
    for name, value, known in (("long", long, get_args(Long)), ("partial", partial, get_args(Partial))):
        if value not in known:
            raise InputError(f"{name} is {value!r}: choose one of {', '.join(map(repr, known))}.")


def whole_seconds(
    eeg: Float[np.ndarray, "N C samples"], long: Long, partial: Partial
) -> Float[np.ndarray, "N C samples"]:
    """Windows at 200 Hz of whole seconds, at most 16 unless long ones are to be split; InputError for others.

    Of a last second that is not whole, "drop" leaves the samples out, and "pad" fills it with the signal mirrored at
    its end.
    """
    check_rules(long, partial)
    samples = eeg.shape[-1]
    if over := samples % RATE_HZ:
        if partial == "refuse":
            raise InputError(
                f"A window has {samples} samples at {RATE_HZ} Hz ({samples / RATE_HZ:g} s), no whole seconds: cut it "
                "elsewhere, or make Windows with partial='drop', or 'pad'."
            )
        if partial == "pad":
            eeg = np.pad(eeg, ((0, 0), (0, 0), (0, RATE_HZ - over)), mode="symmetric")
        else:
            eeg = eeg[..., : samples - over]
    seconds = eeg.shape[-1] // RATE_HZ
    if not seconds:
        raise InputError(f"A window of {samples / RATE_HZ:g} s is shorter than a second: the models take 1 to 16.")
    if seconds > MAX_SECONDS and long == "refuse":
        raise InputError(
            f"A window of {seconds} seconds cannot be used: the models take whole seconds, 1 to {MAX_SECONDS}; cut it "
            "into shorter ones, or make Windows with long='split', whose parts are pooled."
        )
    return eeg


def parts(seconds: int) -> list[tuple[int, int]]:
    """Where the parts of a window begin and end in seconds: as few and as equal as possible, longer ones first.

    30 s are 15 and 15, 33 s are 11, 11 and 11.
    """
    count = -(-seconds // MAX_SECONDS)
    ends = np.cumsum([seconds // count + (number < seconds % count) for number in range(count)]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
