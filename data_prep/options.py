"""What a user may ask for when preparing a corpus; every corpus reads the same options."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_prep.plan import Filters
from labram_jax.errors import InputError
from labram_jax.montage import NEW_TO_OLD, OLD_TO_NEW, check_seconds, electrode_ids, normalise


@dataclass(frozen=True)
class PrepareOptions:
    """The options of `labram-jax prepare`; None leaves the choice to the corpus, as its module says."""

    window_seconds: int | None = None
    """Length of a window in whole seconds (1 to 16); by default about 256 patches."""
    stride_seconds: float | None = None
    """From one window's start to the next; by default the window's length, so that windows do not overlap."""
    high_pass: float | None = 0.1
    """Lower edge of the band-pass in Hz, or None."""
    low_pass: float | None = 75.0
    """Upper edge of the band-pass in Hz, or None."""
    notch: float | None = 50.0
    """Mains frequency to take out in Hz (50 or 60), or None."""
    electrodes: tuple[str, ...] | None = None
    """Take exactly these electrodes, in this order; a recording that lacks one is refused."""
    rename: Literal["none", "old-to-new", "new-to-old"] = "none"
    """T3 T4 T5 T6 (old) and T7 T8 P7 P8 (new) name the same places but are different rows of the model."""
    manifest: Path | None = None
    """A CSV file with one line per stretch of a recording: path, subject, split, label, start, stop."""
    task: str | None = None
    """What the labels mean, in a corpus that offers several tasks."""
    subjects: tuple[int, ...] | None = None
    """eegmmidb alone: take (and fetch) these subjects, 1 to 109; by default all."""
    split_by: Literal["subject", "time", "none", "official"] | None = None
    """Whole subjects to one split, or time within each recording, or all to train, or as was published."""
    fractions: tuple[float, float, float] | None = None
    """Shares of train, validation and test; they sum to 1."""
    seed: int = 0
    """Decides which subjects fall into which split."""
    start_fraction: float = 0.0
    """official-hdf5 alone: where in a recording its windows begin, counted as the official loader counts."""
    end_fraction: float = 1.0
    """official-hdf5 alone: where in a recording its windows end."""
    quality: Literal["check", "finite"] | None = None
    """Drop windows with too many bad electrodes, or only those that are not finite (published protocols)."""
    dtype: Literal["float16", "float32"] = "float16"
    """How windows are stored."""
    jobs: int | None = None
    """Processes that work side by side; by default one for each core."""
    beam: tuple[str, ...] | None = None
    """Work on Apache Beam. All that follows --beam goes to Beam as its pipeline options, so it comes last: --beam
    --runner FlinkRunner ..., or --runner FnApiRunner to try it on this machine. All workers must see SOURCE and OUT
    under the same absolute paths."""
    recordings_per_shard: int = 8
    """Recordings of one montage and split that share a file, the unit of work that a killed build keeps."""
    overwrite: bool = False
    """Replace a corpus that is already there (once the new one is whole)."""

    def __post_init__(self):
        if self.window_seconds is not None:
            check_seconds(self.window_seconds)
        if self.electrodes is not None:
            electrode_ids(self.electrodes)  # names that are unknown or given twice
            object.__setattr__(self, "electrodes", tuple(normalise(name) for name in self.electrodes))
        if self.stride_seconds is not None and self.stride_seconds < 1 / 200:
            raise InputError(f"stride_seconds = {self.stride_seconds}: give at least one sample (0.005 s).")
        if self.fractions is not None and (min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6):
            raise InputError(
                f"fractions = {self.fractions}: give three shares (train, validation, test) that sum to 1."
            )
        if not 0 <= self.start_fraction < self.end_fraction <= 1:
            raise InputError(
                f"start_fraction = {self.start_fraction}, end_fraction = {self.end_fraction}: "
                "give 0 <= start < end <= 1."
            )
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs = {self.jobs}: give at least 1, or leave it out to use every core.")
        if self.jobs is not None and self.beam is not None:
            raise InputError(f"jobs = {self.jobs}, but Beam's own options say who works: leave jobs out.")
        if self.recordings_per_shard < 1:
            raise InputError(f"recordings_per_shard = {self.recordings_per_shard}: give at least 1.")
        Filters(self.high_pass, self.low_pass, self.notch)  # its own checks run before any file is touched

    @property
    def filters(self) -> Filters:
        return Filters(self.high_pass, self.low_pass, self.notch)

    @property
    def aliases(self) -> dict[str, str]:
        return {"none": {}, "old-to-new": OLD_TO_NEW, "new-to-old": NEW_TO_OLD}[self.rename]

    @property
    def processes(self) -> int:
        """How many processes work: those asked for, or the cores this process may use."""
        if self.jobs is not None:
            return self.jobs
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
