"""How recordings become signal: which electrodes, which filters, what counts as bad."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labram_jax.data.schema import QualityLimits
from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data_prep.readers.reader import Reader

CAP_METHODS = ("nearest", "spline")


@dataclass(frozen=True)
class Filters:
    """The filters in Hz (field standard: band-pass 0.1-75, notch 50 or 60); None leaves a step out."""

    high_pass: float | None = 0.1
    low_pass: float | None = 75.0
    notch: float | None = 50.0

    def __post_init__(self):
        for name, value in (
            ("high_pass", self.high_pass),
            ("low_pass", self.low_pass),
            ("notch", self.notch),
        ):
            if value is not None and not value > 0:
                raise InputError(f"{name} = {value}: give a frequency above 0 Hz, or None to leave the step out.")
        if self.high_pass is not None and self.low_pass is not None and self.high_pass >= self.low_pass:
            raise InputError(
                f"high_pass = {self.high_pass} Hz is not below low_pass = {self.low_pass} Hz: nothing would be left."
            )


@dataclass(frozen=True)
class Recipe:
    """What is done to each recording of a corpus.

    `electrodes`: the fixed montage that every recording must offer, in order, or None to take each recording's own
    known electrodes (each distinct montage is then stored by itself).
    `rename`: channel names of the recordings and what they stand for, before anything else is made of them.
    `aliases`: electrodes that are taken for others (`OLD_TO_NEW`, `NEW_TO_OLD`).
    `cap`: the cap whose positions say which electrodes its sockets stand for (`labram_jax.data_prep.cleaning.caps`), or
    None.
    `filters` None takes the signal as it is: it must be at 200 Hz already.
    `unit`: that of files which do not say theirs, "uV", "mV", "V" or "nV"; None takes what the format usually has.
    `margins_seconds`: how much of a recording's other end is put before its start and behind its end (official TUEV
    protocol, whose signal goes around).
    `open(path, part, unit)` returns the `Reader` of a recording; a top-level function, since it travels to other
    processes. None is `labram_jax.data_prep.readers.recording.open_recording`.
    """

    electrodes: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    cap: "Cap | None" = None
    filters: Filters | None = Filters()
    quality: QualityLimits = field(default_factory=QualityLimits)
    dtype: str = "float16"
    unit: str | None = None
    margins_seconds: tuple[float, float] = (0.0, 0.0)
    open: "Callable[[Path, str, str | None], Reader] | None" = None

    def __post_init__(self):
        if self.cap is not None and self.cap.method == "spline" and self.electrodes is None:
            raise InputError(
                "Spherical splines give the signal at any electrode: name the wanted ones (--electrodes FP1 FP2 ...)."
            )


@dataclass(frozen=True)
class Cap:
    """A cap whose sockets are known by their positions.

    `montage` is the name of an MNE montage ("biosemi64", "GSN-HydroCel-129", ...). `method`: "nearest" gives each
    socket the name of the nearest electrode of the vocabulary if it is at most `within_mm` away (on a head of 95 mm
    radius); "spline" interpolates the signal at named electrodes by spherical splines.
    """

    montage: str
    method: str = "nearest"
    within_mm: float = 15.0

    def __post_init__(self):
        if self.method not in CAP_METHODS:
            raise InputError(f"A cap's method is {self.method!r}: choose one of {', '.join(CAP_METHODS)}.")
        if not self.within_mm > 0:
            raise InputError(f"within_mm = {self.within_mm}: give a distance above 0 mm.")
