"""What is to be prepared: recordings, the stretches of them that count, and how windows are cut from these."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labram_jax.errors import InputError

if TYPE_CHECKING:
    import mne

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Span:
    """A stretch of a recording that goes into one split under one label.

    Seconds from the recording's start; `stop_seconds` None is the end. `label` is a class index, a vector
    (regression), or None. Windows are cut inside the span alone, unless the corpus wraps (`CorpusPlan.wrap`).
    """

    start_seconds: float = 0.0
    stop_seconds: float | None = None
    split: str = "train"
    label: int | tuple[float, ...] | None = None


@dataclass(frozen=True)
class Header:
    """What a planner saw of a recording already, so that the build need not open the file to ask again."""

    channels: tuple[str, ...]
    rate_hz: float
    seconds: float


@dataclass(frozen=True)
class RecordingPlan:
    """One recording and its spans; it is read and filtered once, whatever the number of spans.

    `recording` is unique in the corpus and stable across machines (a relative path without its suffix);
    `group` names the dataset inside a file that holds several recordings (HDF5). `header` is for formats whose
    header cannot be read without the samples.
    """

    path: Path
    recording: str
    subject: str
    spans: tuple[Span, ...] = (Span(),)
    group: str | None = None
    header: Header | None = None


@dataclass(frozen=True)
class Filters:
    """The filter recipe in Hz (field standard: band-pass 0.1-75, notch 50 or 60); None leaves a step out."""

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
class QualityLimits:
    """Where a window stops being usable.

    An electrode of a window is bad when it is flat (standard deviation below `flat_microvolts`), implausibly large
    (a filtered sample beyond `peak_microvolts`), or clipped (more than `clipped_fraction` of the window lies in runs
    of `clipped_samples` equal samples at the recording's extremes, before filtering). A window is dropped when more
    than the share `bad_electrodes` of its electrodes is bad; None asks for finite samples alone (`FINITE_ONLY`).
    """

    bad_electrodes: float | None = 0.1
    flat_microvolts: float = 0.1
    peak_microvolts: float = 2000.0
    clipped_fraction: float = 0.02
    clipped_samples: int = 5


# Published protocols drop nothing, so a window that others would call bad still counts in their scores.
FINITE_ONLY = QualityLimits(bad_electrodes=None)


@dataclass(frozen=True)
class CorpusPlan:
    """Everything that the build needs, before any signal was read.

    `electrodes`: the fixed montage that every recording must offer, in order, or None to take each recording's
    own known electrodes (each distinct montage then becomes one configuration of the corpus).
    `window_seconds` None chooses about 256 patches a window (at most 16 s). `unusable` lists what was refused
    already while planning, as (path, reason).
    `filters` None takes the signal as it is: it must be at 200 Hz already.
    `reader(path, group)` returns the recording as an MNE raw object; a top-level function, since it travels to
    other processes. None is `data_prep.recording.read`.
    `wrap`: the signal continues from its other end where a span leaves it (official TUEV protocol).
    `align`: "grid" cuts windows from a span's start on; "official" follows the official loader's counting
    over each whole recording, of which `official_range` gives the start and end fraction.
    """

    name: str
    recordings: tuple[RecordingPlan, ...]
    classes: tuple[str, ...] | None = None
    electrodes: tuple[str, ...] | None = None
    aliases: dict[str, str] = field(default_factory=dict)
    window_seconds: int | None = None
    stride_seconds: float | None = None
    filters: Filters | None = Filters()
    quality: QualityLimits = QualityLimits()
    unusable: tuple[tuple[str, str], ...] = ()
    wrap: bool = False
    align: str = "grid"
    official_range: tuple[float, float] = (0.0, 1.0)
    reader: "Callable[[Path, str | None], mne.io.BaseRaw] | None" = None
    provenance: str = ""

    def __post_init__(self):
        seen = set()
        for recording in self.recordings:
            if recording.recording in seen:
                raise InputError(f"Two recordings are called {recording.recording!r}: give each its own name.")
            seen.add(recording.recording)
        if self.classes is not None:
            return
        if len({len(label) for label in self._vectors()}) > 1:
            raise InputError("The label vectors have different lengths: give every span the same number of values.")

    @property
    def label(self) -> str | None:
        """What a record's label is: "class", "vector", or None where there are no labels."""
        return "class" if self.classes is not None else "vector" if self._vectors() else None

    @property
    def outputs(self) -> int | None:
        """The length of a label vector, or None."""
        return len(self._vectors()[0]) if self.label == "vector" else None

    def recipe(self) -> "CorpusPlan":
        """Returns the plan without its recordings: what is done to each of them."""
        return replace(self, recordings=(), unusable=())

    def _vectors(self) -> list[tuple[float, ...]]:
        spans = [span for recording in self.recordings for span in recording.spans]
        return [span.label for span in spans if isinstance(span.label, tuple)]
