"""The way in from the command line: a corpus' name and a source become a corpus on disk."""

from dataclasses import replace
from pathlib import Path

from data_prep.build import build
from data_prep.corpora import planner
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY, QualityLimits
from data_prep.report import BuildReport


def prepare(corpus: str, source: Path | None, out: Path, options: PrepareOptions) -> BuildReport:
    """Prepares the corpus called `corpus` from the folder `source` into the folder `out`.

    `source` None lets a corpus fetch its recordings where it can. Raises InputError for an unknown corpus, a source
    that cannot be used, and an `out` that is taken.
    """
    plan = planner(corpus)(source, options)
    if options.quality is not None:
        plan = replace(plan, quality={"check": QualityLimits(), "finite": FINITE_ONLY}[options.quality])
    return build(
        plan,
        out,
        jobs=options.processes,
        beam=options.beam,
        dtype=options.dtype,
        recordings_per_shard=options.recordings_per_shard,
        overwrite=options.overwrite,
    )
