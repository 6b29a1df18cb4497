"""The corpora that `labram-jax prepare` knows.

Each is a module with its `Options`, the help text `SOURCE`, and `table(source, options) -> CorpusTable`.
"""

import importlib
from types import MappingProxyType, ModuleType

from labram_jax.errors import InputError

MODULES = MappingProxyType(
    {
        "folder": "data_prep.corpora.folder",
        "eegmat": "data_prep.corpora.eegmat",
        "eegmmidb": "data_prep.corpora.eegmmidb",
        "mobi": "data_prep.corpora.mobi",
        "official-hdf5": "data_prep.corpora.official_hdf5",
        "official-pickles": "data_prep.corpora.official_pickles",
        "seedv": "data_prep.corpora.seedv",
        "tuab": "data_prep.corpora.tuab",
        "tuev": "data_prep.corpora.tuev",
        "simulated": "data_prep.corpora.simulated",
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
