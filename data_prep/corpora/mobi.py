"""MoBI: the angles of six joints of the legs while walking, 8 subjects, 60 electrodes, 100 Hz.

    labram-jax prepare mobi MOBI_FOLDER OUT
    labram-jax prepare mobi MOBI_FOLDER OUT --split-by subject --stride-seconds 0.5

Source: He Y, Luu TP, Nathan K, Nakagome S, Contreras-Vidal JL. A mobile brain-body imaging dataset recorded during
treadmill walking with a brain-computer interface. Scientific Data 2018;5:180074 (which cite), with the recordings on
figshare. `SLnn-Tmm/` is trial mm of subject nn, three each: `eeg.txt` (100 Hz, taken for microvolts), the names of its
channels in `impedances-before.txt`, and `joints.txt` with one line of angles in degrees for each sample. TP9, TP10, FT9
and FT10 were worn beside the eyes and are left out. Electrodes go by the names in that table; one public loader takes
T7 and T8 for FCZ and AFZ, as `--rename` can.

LaBraM's protocol (appendix F of its paper): in each trial 15 minutes of walking, of which 10 train and 5 validate, then
5 minutes of walking that control an avatar, which test. So every subject is in every split, and scores are within
subjects. Windows of 2 s, 50 ms apart; 12 targets, divided by 90 degrees, and means over them are reported; the R2 score
on validation chooses. That walking begins after 2 minutes of standing is what public loaders of the recordings have
(`--minutes` says other times). The paper does not say which 12 targets, nor of which moment: here they are all columns
of `joints.txt`, six that goniometers measured (G) and six that the interface predicted (P), each of hip, knee and ankle
(H, K, A) and right and left (R, L), at the last sample of a window. The paper has 575,830 windows; 24 trials of full
length give 573,192 here, none of which crosses from one part to the next.

A target belongs to one window, so each window is a span of its own, and spans overlap within a split: preparation
decides how far windows are apart, and readers take them as they are (`--data.window-seconds 2`). `spans.csv` has a line
for each.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from labram_jax.data.schema import FINITE_ONLY, SPLITS
from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.readers.mne_reader import cause
from labram_jax.data_prep.readers.reader import Reader
from labram_jax.data_prep.readers.text_reader import RATE_HZ, check_times, open_text, read_columns
from labram_jax.data_prep.sources.files import below, existing_folder, find_files
from labram_jax.data_prep.table import CorpusTable, Span, rows_of
from labram_jax.errors import InputError

SOURCE = "the folder of MoBI, which holds SLnn-Tmm/eeg.txt and SLnn-Tmm/joints.txt"
JOINTS = ("GHR", "GKR", "GAR", "GHL", "GKL", "GAL", "PHR", "PKR", "PAR", "PHL", "PKL", "PAL")
EYE_CHANNELS = ("TP9", "TP10", "FT9", "FT10")
WINDOW_SECONDS = 2
UNIT_DEGREES = 90.0
SUBJECT_FRACTIONS = (0.6, 0.2, 0.2)

_NAME = re.compile(r"(SL\d+)-T\d+", re.IGNORECASE)
_WINDOW = round(WINDOW_SECONDS * RATE_HZ)
_DIGITS = 6  # of a target: a ten-thousandth of a degree


@dataclass(frozen=True)
class Options(SplitOptions, RecordingOptions):
    """What may be asked for when preparing MoBI."""

    split_by: Literal["time", "subject", "none"] = "time"
    """The minutes of each trial, as published (within subjects), whole subjects to one split (0.6, 0.2 and 0.2 of
    them), or all to train."""
    minutes: tuple[float, float, float, float] = (2.0, 12.0, 17.0, 22.0)
    """Where training, validation and test begin and where the test ends, in minutes of each recording; what lies before
    and behind is left out, however it is split."""
    stride_seconds: float = 0.05
    """From the start of one window to the next, in steps of 0.01 s."""

    def __post_init__(self):
        super().__post_init__()
        if not self.minutes[0] >= 0 or any(not a < b for a, b in pairwise((*self.minutes, math.inf))):
            raise InputError(f"minutes = {self.minutes}: give four times from 0 on, each later than the one before.")
        if not 1 / RATE_HZ <= self.stride_seconds < math.inf:
            raise InputError(f"stride_seconds = {self.stride_seconds}: give at least {1 / RATE_HZ} s.")
        if self.split_by == "time" and self.fractions is not None:
            raise InputError(f"fractions = {self.fractions}, but minutes say the split by time: leave fractions out.")

    @property
    def stride_samples(self) -> int:
        """Samples of the recordings from the start of one window to the next."""
        return round(self.stride_seconds * RATE_HZ)


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of MoBI, or of those of its recordings that the folder holds: one row a window.

    Raises:
      InputError: the folder is absent or holds no SLnn-Tmm/eeg.txt.
    """
    root = existing_folder(source, "mobi", SOURCE)
    paths, unusable = find_files(root, ("eeg.txt",))
    matches = [
        (path, match) for path in paths if path.name == "eeg.txt" and (match := _NAME.fullmatch(path.parent.name))
    ]
    if not matches and not unusable:
        raise InputError(f"{root} holds no SLnn-Tmm/eeg.txt; give {SOURCE}.")
    spans: list[Span] = []
    for path, match in matches:
        name = path.parent.name if path.parent == root else below(path.parent, root)
        try:
            spans += _spans(Span(path, name, match[1].upper()), path.with_name("joints.txt"), options)
        except InputError as error:
            unusable.append((str(path), str(error)))
    return CorpusTable(
        "mobi",
        rows_of(spans),
        # Targets differ from window to window, so that there is nothing to balance.
        options.split(options.split_by, SUBJECT_FRACTIONS, balanced=False),
        options.recipe(quality=FINITE_ONLY, open=open_eeg),
        None,
        WINDOW_SECONDS,
        tuple(unusable),
        _provenance(options),
    )


def _provenance(options: Options) -> str:
    first, *others, last = (f"{minute:g}" for minute in options.minutes)
    inner = f"; validation and test from {' and '.join(others)}" if options.split_by == "time" else ""
    return (
        f"MoBI, He et al. 2018; minutes {first} to {last}{inner}; windows {options.stride_samples / RATE_HZ:g} s apart"
    )


def open_eeg(path: Path, part: str = "", unit: str | None = None) -> Reader:
    """Opens an `eeg.txt`; raises InputError where it or its table of channels cannot be used."""
    return open_text(path, EYE_CHANNELS, unit)


def read_angles(file: Path) -> Float64[np.ndarray, "samples 12"]:
    """Returns the angles of the joints in degrees, one row a sample at 100 Hz, in the order of `JOINTS`.

    The first line names the joints in parentheses, the second their factors, which the angles have already; then the
    time in seconds and the angles, with tabs between.

    Raises:
      InputError: the file is absent, names other joints, or holds what is no angle at 100 Hz.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            named = re.search(r"\(([^)]*)\)", stream.readline())
        columns = read_columns(file, 2, range(len(JOINTS) + 1))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The angles of the joints cannot be read from {file} ({cause(error)}): put the file beside eeg.txt."
        ) from error
    if named is None or tuple(named[1].split()) != JOINTS:
        raise InputError(f"{file} does not name the joints {' '.join(JOINTS)} in its first line: obtain it again.")
    check_times(columns[:, 0], file)
    return columns[:, 1:]


def _spans(recording: Span, file: Path, options: Options) -> list[Span]:
    """Returns the windows of a recording, each with the angles at its last sample, if all are known.

    Raises:
      InputError: the file of angles cannot be used, or has none of them within the minutes asked for.
    """
    targets = np.round(read_angles(file) / UNIT_DEGREES, _DIGITS)
    known = np.isfinite(targets).all(axis=1)
    edges = [round(60 * minute * RATE_HZ) for minute in options.minutes]
    spans = []
    for split, (begin, end) in zip(SPLITS, pairwise(edges), strict=True):
        own = recording._replace(split=split if options.split_by == "time" else None)
        for start in range(begin, min(end, len(targets)) - _WINDOW + 1, options.stride_samples):
            if known[last := start + _WINDOW - 1]:
                seconds = start / RATE_HZ
                label = tuple(targets[last].tolist())
                spans.append(own._replace(label=label, start=seconds, stop=seconds + WINDOW_SECONDS))
    if not spans:
        raise InputError(
            f"{file} has no angles for a window between minutes {options.minutes[0]:g} and {options.minutes[-1]:g} of "
            f"its {len(targets) / RATE_HZ / 60:.1f}: give other --minutes, or leave the recording out."
        )
    return spans
