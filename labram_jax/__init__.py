"""LaBraM in JAX: the large brain model for EEG, from raw recordings to a fine-tuned classifier."""

import importlib
from typing import TYPE_CHECKING

from labram_jax.errors import InputError

if TYPE_CHECKING:
    from labram_jax.data.corpus import open_corpus
    from labram_jax.estimators import LabramClassifier, LabramFeatures, LabramRegressor
    from labram_jax.inference import Classifier, Encoder, Tokenizer, load
    from labram_jax.publish import push
    from labram_jax.windows import Windows

__version__ = "0.1.0"
# Where what the package offers lies: it is imported when it is first asked for, since data preparation imports the
# package in every worker and must not wait for jax.
_ROOMS = {
    "Classifier": "labram_jax.inference",
    "Encoder": "labram_jax.inference",
    "LabramClassifier": "labram_jax.estimators",
    "LabramFeatures": "labram_jax.estimators",
    "LabramRegressor": "labram_jax.estimators",
    "Tokenizer": "labram_jax.inference",
    "Windows": "labram_jax.windows",
    "load": "labram_jax.inference",
    "open_corpus": "labram_jax.data.corpus",
    "push": "labram_jax.publish",
}
__all__ = [
    "Classifier",
    "Encoder",
    "InputError",
    "LabramClassifier",
    "LabramFeatures",
    "LabramRegressor",
    "Tokenizer",
    "Windows",
    "load",
    "open_corpus",
    "push",
]


def __getattr__(name: str):
    if name == "interop":
        return importlib.import_module("labram_jax.interop")
    if name in _ROOMS:
        return getattr(importlib.import_module(_ROOMS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
