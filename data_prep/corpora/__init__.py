"""The corpora that `labram-jax prepare` knows, each a module with `plan(source, options) -> CorpusPlan`."""

import dataclasses
import functools
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
        "official-pickles": "data_prep.corpora.official_pickles",
        "tuab": "data_prep.corpora.tuab",
        "tuev": "data_prep.corpora.tuev",
        "simulated": "data_prep.corpora.simulated",
    }
)
# Options that mean something to one corpus alone; elsewhere they would be ignored, so they are refused there.
SPECIFIC_OPTIONS = MappingProxyType(
    {
        "manifest": "folder",
        "task": "eegmmidb",
        "subjects": "eegmmidb",
        "start_fraction": "official-hdf5",
        "end_fraction": "official-hdf5",
    }
)


def planner(name: str) -> Callable[[Path | None, PrepareOptions], CorpusPlan]:
    """Returns the function that plans the corpus which the command line calls `name`.

    Raises:
      InputError: there is no such corpus.
    """
    if name not in MODULES:
        raise InputError(f"There is no corpus called {name!r}; choose one of {', '.join(MODULES)}.")
    return functools.partial(_plan, name)


def _plan(name: str, source: Path | None, options: PrepareOptions) -> CorpusPlan:
    for field in dataclasses.fields(options):
        owner = SPECIFIC_OPTIONS.get(field.name, name)
        if owner != name and getattr(options, field.name) != field.default:
            raise InputError(f"{name} has no use for {field.name}, which is for {owner}; leave it out.")
    return importlib.import_module(MODULES[name]).plan(source, options)
