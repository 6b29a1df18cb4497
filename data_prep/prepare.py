"""The way in: a corpus' name and a source become a corpus on disk."""

from pathlib import Path

from labram_jax.data_prep.build import build
from labram_jax.data_prep.corpora import corpus_module
from labram_jax.data_prep.options import BuildOptions
from labram_jax.data_prep.report import BuildReport
from labram_jax.errors import InputError


def prepare(corpus: str, source: Path | None, out: Path, options: BuildOptions | None = None) -> BuildReport:
    """Prepares the corpus called `corpus` from `source` into the folder `out`.

    `options` are the corpus' own (`labram_jax.data_prep.corpora.<corpus>.Options`); None takes their defaults. `source`
    None lets a corpus fetch its recordings where it can.

    Raises:
      InputError: an unknown corpus, options of another one, a source that cannot be used, or an `out` that is taken.
    """
    module = corpus_module(corpus)
    options = module.Options() if options is None else options
    if not isinstance(options, module.Options):
        raise InputError(f"{corpus} takes {module.__name__}.Options, not {type(options).__module__}.Options.")
    return build(
        module.table(source, options),
        out,
        jobs=options.processes,
        beam=options.beam,
        recordings_per_shard=options.recordings_per_shard,
        overwrite=options.overwrite,
    )
