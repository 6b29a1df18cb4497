"""AdamW's moments of an official pretraining checkpoint, found by the official order of parameters.

PyTorch's optimizer state knows parameters by number alone. The official code walks through the model's parameters in
the order of their registration, which is that of the checkpoint's tensors, puts each into the group with or without
weight decay, and numbers them group by group, the group of the first parameter first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labram_jax.config import ModelConfig
from labram_jax.convert.importing import Imported
from labram_jax.convert.official import from_official, official_tensors
from labram_jax.errors import InputError

NEVER_DECAYED = ("student.cls_token", "student.pos_embed", "student.time_embed")
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Moments:
    """First and second moments, shaped as the parameters (numpy), and the updates behind them."""

    first: dict[str, Any]
    second: dict[str, Any]
    updates: int


def official_order(tensors: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Names of the parameters of each group of the official optimizer, in order."""
    groups: dict[bool, list[str]] = {}
    for name, tensor in tensors.items():
        decayed = tensor.ndim > 1 and not name.endswith(".bias") and name not in NEVER_DECAYED
        groups.setdefault(decayed, []).append(name)
    return list(groups.values())


def read_moments(imported: Imported) -> Moments | None:
    """The moments of a pretraining checkpoint; None where it has no optimizer, or one that made no update yet.

    Raises InputError where there is one whose groups or shapes are not those of the official code.
    """
    optimizer = imported.source.beside.get("optimizer")
    if not isinstance(optimizer, dict) or not optimizer.get("state"):
        return None
    where = imported.source.path
    state = _by_name(optimizer, imported.source.tensors, where)
    needed = [entry.name for entry in official_tensors(imported.config)]
    for name in needed:
        shape = imported.source.tensors[name].shape
        parts = state.get(name, {})
        if any(getattr(parts.get(moment), "shape", None) != shape for moment in MOMENTS):
            raise _mismatch(where, f"it has no moments of shape {list(shape)} for {name}")
    updates = {_count(state[name].get("step")) for name in needed}
    if len(updates) != 1 or min(updates) < 1:
        raise _mismatch(where, "its parameters have seen different numbers of updates")
    first, second = (_params({name: state[name][moment] for name in needed}, imported.config) for moment in MOMENTS)
    return Moments(first, second, updates.pop())


def _by_name(optimizer: Mapping, tensors: Mapping[str, np.ndarray], where: Path) -> dict[str, Mapping]:
    """State by the name of its parameter."""
    state, groups, order = optimizer["state"], optimizer.get("param_groups"), official_order(tensors)
    try:
        numbers = [list(group["params"]) for group in groups]
        sizes = [len(group) for group in numbers]
        if sizes != [len(group) for group in order]:
            raise _mismatch(where, f"its groups have {sizes} parameters, and the official ones {list(map(len, order))}")
        found = {}
        for names, group in zip(order, numbers, strict=True):
            found |= {name: state[number] for name, number in zip(names, group, strict=True) if number in state}
    except (AttributeError, LookupError, TypeError) as error:
        raise _mismatch(where, f"it is none of PyTorch's ({type(error).__name__})") from error
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def _count(step: Any) -> int:
    """Updates by PyTorch's number or tensor of one number; 0 where it is neither."""
    number = step.item() if isinstance(step, np.ndarray) and step.size == 1 else step
    return int(number) if isinstance(number, int | float) and 0 < number < 1 << 31 else 0


def _params(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    return from_official({name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}, config)["params"]


def _mismatch(where: Path, what: str) -> InputError:
    return InputError(
        f"The optimizer in {where} is not the one of official pretraining ({what}): convert the file first and start "
        "from the result, which holds the weights alone."
    )
