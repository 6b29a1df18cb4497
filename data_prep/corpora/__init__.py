"""The corpora that `labram-jax prepare` knows.

Each is a module with its `Options`, the help text `SOURCE`, and `table(source, options) -> CorpusTable`.
"""

import importlib
from types import MappingProxyType, ModuleType

from labram_jax.errors import InputError

MODULES = MappingProxyType(
    {
        "folder": "labram_jax.data_prep.corpora.folder",
        "eegmat": "labram_jax.data_prep.corpora.eegmat",
        "eegmmidb": "labram_jax.data_prep.corpora.eegmmidb",
        "mobi": "labram_jax.data_prep.corpora.mobi",
        "official-hdf5": "labram_jax.data_prep.corpora.official_hdf5",
        "official-pickles": "labram_jax.data_prep.corpora.official_pickles",
        "seedv": "labram_jax.data_prep.corpora.seedv",
        "tuab": "labram_jax.data_prep.corpora.tuab",
        "tuev": "labram_jax.data_prep.corpora.tuev",
        "simulated": "labram_jax.data_prep.corpora.simulated",
    }
)


def corpus_module(name: str) -> ModuleType:
    """Returns the module of the corpus which the command line calls `name`.

    Raises:
      InputError: there is no such corpus.
    """
    if name not in MODULES:
        raise InputError(f"There is no corpus called {name!r}; choose one of {', '.join(MODULES)}.")
    return importlib.import_module(MODULES[name])
