"""The corpora that `labram-jax prepare` knows, each a module with `plan(source, options) -> CorpusPlan`."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from data_prep.options import PrepareOptions
from data_prep.plan import CorpusPlan
from labram_jax.errors import InputError

MODULES = MappingProxyType(
    {
        "folder": "data_prep.corpora.folder",
        "eegmat": "data_prep.corpora.eegmat",
        "eegmmidb": "data_prep.corpora.eegmmidb",
        "official-hdf5": "data_prep.corpora.official_hdf5",
        "tuab": "data_prep.corpora.tuab",
        "tuev": "data_prep.corpora.tuev",
        "simulated": "data_prep.corpora.simulated",
    }
)


def planner(name: str) -> Callable[[Path | None, PrepareOptions], CorpusPlan]:
    """Returns the `plan` function of the corpus that the command line calls `name`.

    Raises:
      InputError: there is no such corpus.
    """
    if name not in MODULES:
        raise InputError(f"There is no corpus called {name!r}; choose one of {', '.join(MODULES)}.")
    return importlib.import_module(MODULES[name]).plan
