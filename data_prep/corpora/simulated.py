"""Simulated recordings with eyes open and closed, in three montages, rates and file formats.

    labram-jax prepare simulated RECORDINGS OUT

RECORDINGS is where the files are written: a folder that is absent or empty, or one that an earlier run with the same
seed has filled. Of 12 subjects, four are recorded with each device (`data_prep/sources/simulated_folder.py`), 60 s with
eyes closed and 60 s with eyes open; half of them are for training, a quarter each for validation and testing, every
device and both classes in each. The files are then read like anybody's own, by the manifest written beside them.
"""

from dataclasses import dataclass
from pathlib import Path

from labram_jax.data_prep.corpora.folder import manifest_spans
from labram_jax.data_prep.options import RecordingOptions
from labram_jax.data_prep.sources.simulated_folder import DESCRIPTION, MANIFEST, Simulation, read_description, simulate
from labram_jax.data_prep.table import CorpusTable, Split, rows_of
from labram_jax.errors import InputError

SOURCE = "the folder for the recordings: absent or empty, or filled by an earlier run with this seed"


@dataclass(frozen=True)
class Options(RecordingOptions):
    """What may be asked for when simulating recordings and preparing them."""

    seed: int = 0
    """Decides everything that is random in the recordings."""


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of the simulated recordings of a folder, after writing them if it is absent or empty.

    Raises:
      InputError: no folder is given, or it holds other files or another seed's simulation.
    """
    if source is None:
        raise InputError("The simulated corpus needs a folder to write its recordings to; give it as SOURCE.")
    if not (source / DESCRIPTION).exists():
        simulate(source, Simulation(seed=options.seed))
    found = read_description(source)
    if found.seed != options.seed:
        raise InputError(
            f"{source} holds a simulation with seed {found.seed}, not {options.seed}; give another folder or that seed."
        )
    spans, classes = manifest_spans(source / MANIFEST, source)
    recipe, provenance = options.recipe(), f"simulated recordings: {found}"
    return CorpusTable("simulated", rows_of(spans), Split("given"), recipe, classes, provenance=provenance)
