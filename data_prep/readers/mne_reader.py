"""A recording that MNE reads, as a `Reader`: its channels, its continuous pieces, and its microvolts."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import mne
import numpy as np
from jaxtyping import Float64

from labram_jax.data_prep.readers.discontinuities import Break, marks_of, pieces_between
from labram_jax.data_prep.readers.reader import Annotation, Header, Reader
from labram_jax.data_prep.readers.units import UNITS, check_unit, spelling_of
from labram_jax.errors import InputError

_FORMATS = {
    "Raw": "FIF",
    "RawANT": "ANT CNT",
    "RawArray": "array",
    "RawBCI2k": "BCI2000",
    "RawBrainVision": "BrainVision",
    "RawCNT": "Neuroscan CNT",
    "RawEEGLAB": "EEGLAB",
    "RawEGI": "EGI simple binary",
    "RawMEF": "MEF3",
    "RawMff": "EGI MFF",
    "RawNSX": "Blackrock NSx",
    "RawNedf": "NEDF",
    "RawNihon": "Nihon Kohden",
}
# What MNE warns of that says nothing of the recording.
_OF_NO_USE = "does not conform to MNE naming conventions"
# What else cuts: GDF's "start of a new segment" (also where EEGLAB took it over), and EEGLAB's numeric boundary.
_CUT_TEXTS = {"RawGDF": ("32766",), "RawEEGLAB": ("32766", "-99")}


@dataclass(frozen=True)
class Details:
    """What a format tells beside MNE, or better than it.

    `annotations`, where given, count instead of MNE's. `others` are channels that were left out, with reasons.
    `without_unit` {channel: microvolts} are channels whose unit the file leaves open, and the unit that MNE takes
    them for; `has_units` says that the format has a place for it. `factors` mend channels whose unit MNE misreads.
    """

    format: str | None = None
    breaks: Sequence[Break] = ()
    annotations: Sequence[Annotation] | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    without_unit: Mapping[str, float] = field(default_factory=dict)
    has_units: bool = False
    factors: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


class MneReader(Reader):
    """A recording that MNE reads; `factors` {channel: number} are what its samples are multiplied by beside 1e6."""

    def __init__(self, raw: mne.io.BaseRaw, path: Path, header: Header, factors: Mapping[str, float]):
        self._raw, self._path, self._factors = raw, path, factors
        self.header = header

    def microvolts(self, channels: Sequence[str], start: int, stop: int) -> Float64[np.ndarray, "C samples"]:
        rows = [self._raw.ch_names.index(name) for name in channels]
        if not rows or start >= stop:
            return np.zeros((len(rows), max(stop - start, 0)))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                eeg = self._raw.get_data(picks=rows, start=start, stop=stop, verbose="ERROR")
        except Exception as error:  # MNE's readers raise whatever decoding meets
            raise InputError(
                f"The samples of {self._path} cannot be read ({cause(error)}): the file may be damaged or truncated."
            ) from error
        eeg *= 1e6
        for row, name in enumerate(channels):
            if name in self._factors:
                eeg[row] *= self._factors[name]
        return eeg


def reader_of(
    raw: mne.io.BaseRaw,
    path: Path,
    notes: Iterable[str] = (),
    unit: str | Mapping[str, str] | None = None,
    details: Details | None = None,
) -> MneReader:
    """Makes a reader of a raw object that is open, with its types, bad channels and annotations as they are now.

    `unit` is that of channels whose file does not say it: one for all, or {channel: unit}.
    """
    details = _details_of(raw) if details is None else details
    declared = {name: mne.channel_type(raw.info, index) for index, name in enumerate(raw.ch_names)}
    others = {name: f"{name!r} is declared as {kind}, not EEG." for name, kind in declared.items() if kind != "eeg"}
    others = {**others, **details.others}
    channels = tuple(name for name in raw.ch_names if name not in others)
    rate, samples = float(raw.info["sfreq"]), int(raw.n_times)
    annotations = details.annotations
    if annotations is None:
        annotations = annotations_of(raw.annotations, raw.first_time)
    else:  # what MNE made of them, and warned of, does not count
        notes = [note for note in notes if "annotation(s)" not in note]
    annotations = _inside(annotations, samples / rate)
    errors = _errors(raw, annotations)
    annotations = tuple(
        _snapped(annotation, rate, error) for annotation, error in zip(annotations, errors, strict=True)
    )
    marks = marks_of(annotations, rate, _CUT_TEXTS.get(type(raw).__name__, ()), errors)
    factors, unit_notes = _factors(details, channels, unit)
    header = Header(
        channels=channels,
        rate_hz=rate,
        samples=samples,
        pieces=pieces_between(samples, [*details.breaks, *marks.breaks]),
        others=others,
        marked_bad=frozenset(raw.info["bads"]) & frozenset(channels),
        excluded=marks.excluded,
        annotations=annotations,
        notes=tuple(dict.fromkeys([*notes, *details.notes, *unit_notes])),
        format=details.format or _FORMATS.get(type(raw).__name__, type(raw).__name__.removeprefix("Raw")),
        pass_hz=(float(raw.info["highpass"]), float(raw.info["lowpass"])),
    )
    return MneReader(raw, path, header, factors)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Gives a list of what MNE warns of meanwhile, through `warnings` and its logger; none of it is printed."""
    notes: list[str] = []
    logger, collector = logging.getLogger("mne"), _Collector(notes)
    handlers, level = logger.handlers[:], logger.level
    logger.handlers[:] = [collector]
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield notes
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        texts = [str(entry.message) for entry in caught if issubclass(entry.category, (RuntimeWarning, UserWarning))]
        notes[:] = dict.fromkeys(" ".join(text.split()) for text in [*texts, *notes] if _OF_NO_USE not in text)


def annotations_of(found: mne.Annotations, first_seconds: float) -> tuple[Annotation, ...]:
    """Returns MNE's annotations as ours; `first_seconds` is the time of the file's first sample by their clock."""
    durations = np.nan_to_num(found.duration)  # EEGLAB's empty durations are NaN
    rows = zip(found.onset - first_seconds, durations, found.description, strict=True)
    return tuple(Annotation(float(start), float(duration), str(text)) for start, duration, text in rows)


def cause(error: BaseException) -> str:
    """Returns the kind and the beginning of the text of an error, in one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


class _Collector(logging.Handler):
    def __init__(self, notes: list[str]):
        super().__init__(logging.WARNING)
        self._notes = notes

    def emit(self, record: logging.LogRecord) -> None:
        self._notes.append(record.getMessage())


def _details_of(raw: mne.io.BaseRaw) -> Details:
    """Returns what is known of a format from its raw object alone: EEGLAB and EGI have no place for a unit."""
    kind = type(raw).__name__
    if kind not in ("RawEEGLAB", "RawEGI"):
        return Details()
    # MNE takes EGI's for microvolts where the header has no range, else for volts.
    volts = {channel["ch_name"]: kind == "RawEGI" and channel["cal"] != 1e-6 for channel in raw.info["chs"]}
    return Details(without_unit={name: UNITS["V"] if large else UNITS["uV"] for name, large in volts.items()})


def _inside(annotations: Iterable[Annotation], seconds: float) -> tuple[Annotation, ...]:
    """Cuts annotations to a recording of so many seconds; those outside of it, and repeated ones, are left out."""
    kept = []
    for start, duration, text in annotations:
        first, last = max(start, 0.0), min(start + duration, seconds)
        if first < seconds and (first < last or start >= 0):
            # An annotation that lies inside keeps its duration free of rounding.
            whole = start >= 0 and start + duration <= seconds
            kept.append(Annotation(float(first), float(duration if whole else last - first), text))
    return tuple(sorted(dict.fromkeys(kept)))


def _errors(raw: mne.io.BaseRaw, annotations: Sequence[Annotation]) -> list[float]:
    """Returns how far the times of annotations may be off: FIF stores those from the measurement's start as float32."""
    if not isinstance(raw, mne.io.Raw):
        return [0.0] * len(annotations)
    return [float(np.spacing(np.float32(start + duration + raw.first_time))) / 2 for start, duration, _ in annotations]


def _snapped(annotation: Annotation, rate_hz: float, error_seconds: float) -> Annotation:
    """Moves the start and the end of an annotation onto the samples that they cannot be told from."""
    if not error_seconds:
        return annotation
    times = (annotation.start_seconds, annotation.start_seconds + annotation.duration_seconds)
    samples = (round(time * rate_hz) / rate_hz for time in times)
    # Onset and duration were rounded each by itself.
    start, stop = (s if abs(s - time) <= 2 * error_seconds else time for s, time in zip(samples, times, strict=True))
    return Annotation(start, round(stop - start, 9), annotation.text)


def _factors(
    details: Details, channels: Sequence[str], unit: str | Mapping[str, str] | None
) -> tuple[dict[str, float], list[str]]:
    """Returns what the samples of channels are to be multiplied by, and notes on units that were guessed."""
    factors = dict(details.factors)
    guessed: dict[float, list[str]] = {}
    for name in channels:
        if name not in details.without_unit:
            continue
        taken = details.without_unit[name]
        given = unit if unit is None or isinstance(unit, str) else unit.get(name)
        check_unit(given)
        if given is not None:
            factors[name] = UNITS[given] / taken
        elif details.has_units or taken != UNITS["uV"]:
            guessed.setdefault(taken, []).append(name)
    return factors, [
        f"{_listed(names)} no unit in the file and {'was' if len(names) == 1 else 'were'} taken for "
        f"{spelling_of(taken)}: give --unit ({', '.join(UNITS)}) if it is another."
        for taken, names in guessed.items()
    ]


def _listed(names: Sequence[str], most: int = 5) -> str:
    if len(names) == 1:
        return f"{names[0]} has"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more} have"
