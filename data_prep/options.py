"""What a user may ask for when preparing a corpus: the options that many corpora share.

Each corpus has its own class `Options`, made of these and of what it alone offers.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from labram_jax.data.schema import FINITE_ONLY, QualityLimits
from labram_jax.data_prep.recipe import Cap, Filters, Recipe
from labram_jax.data_prep.table import Fractions, Split
from labram_jax.errors import InputError
from labram_jax.montage import NEW_TO_OLD, OLD_TO_NEW, electrode_ids, normalise


@dataclass(frozen=True)
class BuildOptions:
    """How a corpus is built and stored: all that formats offer whose signal comes filtered."""

    quality: Literal["check", "finite"] | None = None
    """Judge every second of every electrode (check), or ask for finite samples alone (finite, as published protocols
    do); by default what the corpus' protocol does, else check."""
    dtype: Literal["float16", "float32"] = "float16"
    """How the signal is stored; float16 holds up to 65504 uV."""
    jobs: int | None = None
    """Processes that work side by side; by default one for each core."""
    beam: tuple[str, ...] | None = None
    """Work on Apache Beam. All that follows --beam goes to Beam as its pipeline options, so it comes last: --beam
    --runner FlinkRunner ..., or --runner FnApiRunner to try it on this machine. All workers must see SOURCE and OUT
    under the same absolute paths."""
    recordings_per_shard: int = 8
    """Recordings of one montage that share a file, the unit of work that a killed build keeps."""
    overwrite: bool = False
    """Replace a corpus that is already there (once the new one is whole)."""

    def __post_init__(self):
        for field in fields(self):
            value, choices = getattr(self, field.name), _choices(field.type)
            if choices and value not in choices:
                raise InputError(f"{field.name} = {value!r}: choose one of {', '.join(map(str, choices))}.")
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs = {self.jobs}: give at least 1, or leave it out to use every core.")
        if self.jobs is not None and self.beam is not None:
            raise InputError(f"jobs = {self.jobs}, but Beam's own options say who works: leave jobs out.")
        if self.recordings_per_shard < 1:
            raise InputError(f"recordings_per_shard = {self.recordings_per_shard}: give at least 1.")

    @property
    def processes(self) -> int:
        """How many processes work: those asked for, or the cores this process may use."""
        if self.jobs is not None:
            return self.jobs
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def recipe(self, **choices) -> Recipe:
        """Returns the recipe of a corpus: its own `choices` (fields of `Recipe`), but what the user asked for first."""
        if self.quality is not None:
            choices["quality"] = {"check": QualityLimits(), "finite": FINITE_ONLY}[self.quality]
        return Recipe(**{"filters": None, **choices, "dtype": self.dtype})


@dataclass(frozen=True)
class ElectrodeOptions(BuildOptions):
    """Which electrodes are taken, and under which names."""

    electrodes: tuple[str, ...] | None = None
    """Take exactly these electrodes, in this order; a recording that lacks one is refused. By default those of the
    corpus' protocol, else every known one."""
    names: Literal["none", "old-to-new", "new-to-old"] = "none"
    """T3 T4 T5 T6 (old) and T7 T8 P7 P8 (new) name the same places but are different rows of the model."""
    rename: Path | None = None
    """A CSV file with the columns from and to: names of channels in the files, and the electrodes that they are."""

    def __post_init__(self):
        super().__post_init__()
        if self.electrodes is not None:
            electrode_ids(self.electrodes)  # names that are unknown or given twice
            object.__setattr__(self, "electrodes", tuple(normalise(name) for name in self.electrodes))

    def recipe(self, *, electrodes: tuple[str, ...] | None = None, **choices) -> Recipe:
        from labram_jax.data_prep.cleaning.channels import read_rename

        aliases = {"none": {}, "old-to-new": OLD_TO_NEW, "new-to-old": NEW_TO_OLD}[self.names]
        if electrodes is not None:
            electrodes = tuple(aliases.get(electrode, electrode) for electrode in electrodes)
        rename = {} if self.rename is None else read_rename(self.rename)
        return super().recipe(electrodes=self.electrodes or electrodes, aliases=aliases, rename=rename, **choices)


@dataclass(frozen=True)
class RecordingOptions(ElectrodeOptions):
    """How recordings are read and filtered."""

    high_pass: float | None = 0.1
    """Lower edge of the band-pass in Hz, or None."""
    low_pass: float | None = 75.0
    """Upper edge of the band-pass in Hz, or None."""
    notch: float | None = 50.0
    """Mains frequency to take out in Hz (50 or 60), or None."""
    unit: Literal["uV", "mV", "V", "nV"] | None = None
    """The unit of samples in files that do not say theirs; by default what their format usually has."""
    montage: str | None = None
    """The cap that was worn, as MNE names its montage (biosemi64, GSN-HydroCel-129, ...): its sockets become
    electrodes by their positions. By default names alone count."""
    montage_method: Literal["nearest", "spline"] = "nearest"
    """Call each socket by the nearest electrode, or interpolate the electrodes by spherical splines."""
    montage_within_mm: float = 15.0
    """How far a socket may be from the electrode that it is called by, in millimetres."""

    def __post_init__(self):
        super().__post_init__()
        Filters(self.high_pass, self.low_pass, self.notch)  # its own checks run before any file is touched
        if not self.montage_within_mm > 0:
            raise InputError(f"montage_within_mm = {self.montage_within_mm}: give a distance above 0 mm.")
        if self.montage is not None:
            # MNE takes a second to import, which most options do not need.
            from labram_jax.data_prep.cleaning.positions import template

            template(self.montage)

    def recipe(self, **choices) -> Recipe:
        cap = None if self.montage is None else Cap(self.montage, self.montage_method, self.montage_within_mm)
        filters = Filters(self.high_pass, self.low_pass, self.notch)
        return super().recipe(**{"filters": filters, "unit": self.unit, "cap": cap, **choices})


@dataclass(frozen=True)
class SplitOptions:
    """How a corpus is split; each corpus that uses these says which ways it offers, and its own shares."""

    fractions: Fractions | None = None
    """Shares of train, validation and test; they sum to 1. By default the corpus' own."""
    seed: int = 0
    """Decides which subjects fall into which split."""
    allow_shared_subjects: bool = False
    """Go on where a subject is in two splits, which is refused otherwise (unless by time)."""

    def __post_init__(self):
        super().__post_init__()
        if self.fractions is not None and (min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6):
            raise InputError(
                f"fractions = {self.fractions}: give three shares (train, validation, test) that sum to 1."
            )

    def split(self, by: str, fractions: Fractions, **choices) -> Split:
        """Returns the split of a corpus; `fractions` are its own shares, `choices` are further fields of `Split`."""
        return Split(
            by,
            self.fractions or fractions,
            self.seed,
            **{"allow_shared_subjects": self.allow_shared_subjects, **choices},
        )


def _choices(annotation: Any) -> tuple:
    """Returns the values that a Literal allows, with None where it is optional; nothing for other types."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    members = get_args(annotation)
    literal = next((member for member in members if get_origin(member) is Literal), None)
    return () if literal is None else (*get_args(literal), None)
