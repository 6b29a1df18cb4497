"""Modes: which part of a model is trained, and what its head sees."""

from typing import Any, get_args, get_type_hints

from labram_jax.config import ClassifierConfig, FinetuningStageConfig
from labram_jax.errors import InputError

TRAINED = get_args(get_type_hints(FinetuningStageConfig)["trainable"])
READOUTS = get_args(get_type_hints(ClassifierConfig)["pooling"])
BESIDE = ("amplitude", "filters")


def changes_of(mode: str) -> dict[str, Any]:
    """What a mode changes of a configuration, by dotted names.

    A mode is what is trained (`FinetuningStageConfig.trainable`, all unless it says so), a readout
    (`ClassifierConfig.pooling`), `amplitude` and `filters`, joined by +: "all", "head+electrodes+amplitude". Raises
    InputError for anything else.
    """
    found: dict[str, Any] = {}
    for part in mode.split("+"):
        if part in TRAINED:
            change = {"trainable": part}
        elif part in READOUTS:
            change = {"model.pooling": part}
        elif part in BESIDE:
            change = {f"model.{part}": True}
        else:
            raise InputError(
                f"There is no mode {mode!r}, since {part!r} is neither what is trained ({', '.join(TRAINED)}), nor a "
                f"readout ({', '.join(READOUTS)}), nor what stands beside it ({', '.join(BESIDE)}): join these by +."
            )
        if change.keys() <= found.keys():
            raise InputError(f"The mode {mode!r} names two of one kind: name one.")
        found |= change
    return {"trainable": "all", **found}
