"""What training carries from step to step."""

from typing import Any, NamedTuple

import jax
import optax
from flax import struct
from jaxtyping import Array, Int, Shaped

PyTree = Any


class Averages(NamedTuple):
    """Part of an optimizer's state: moving averages of the parameters that it moves, after so many updates."""

    count: Int[Array, ""]
    averaged: PyTree


@struct.dataclass
class TrainState:
    """Everything a step needs and returns; a pytree.

    Attributes:
        step: batches seen so far, int32.
        params: what the optimizer moves.
        collections: what the model moves by itself, by collection ({"codebook": ...}, or empty).
        opt_state: the optimizer's moments and counts, and `Averages` if it keeps them.
        guard: what its numbers were like so far, by which a step is judged (`training/guard.py`).
        frozen: constants of the step that no checkpoint holds, such as the tokenizer whose codes are predicted.
    """

    step: Int[Array, ""]
    params: PyTree
    collections: dict[str, PyTree]
    opt_state: PyTree
    guard: dict[str, Shaped[Array, "..."]]
    frozen: PyTree

    @property
    def variables(self) -> dict[str, PyTree]:
        """What a model's `apply` takes: {"params": ..., **collections}."""
        return {"params": self.params, **self.collections}

    @property
    def exchanged(self) -> "TrainState":
        """The state with averages in the places of the parameters that they are of, and these in theirs.

        Its `variables` are the model that is scored, chosen and handed on. Exchanged again it is what it was; where no
        averages are kept, it is the state itself.
        """
        found = averages_of(self.opt_state)
        if found is None:
            return self
        params = jax.tree.map(
            lambda own, other: other if _absent(own) else own, found.averaged, self.params, is_leaf=_absent
        )
        moved = jax.tree.map(
            lambda own, other: own if _absent(own) else other, found.averaged, self.params, is_leaf=_absent
        )
        return self.replace(params=params, opt_state=with_averages(self.opt_state, found._replace(averaged=moved)))


def averages_of(opt_state: PyTree) -> Averages | None:
    """The averages in an optimizer's state, if it keeps any."""
    nodes = jax.tree.leaves(opt_state, is_leaf=_holds_averages)
    return next((node for node in nodes if _holds_averages(node)), None)


def with_averages(opt_state: PyTree, averages: Averages) -> PyTree:
    """An optimizer's state with others in the place of its averages."""
    return jax.tree.map(lambda node: averages if _holds_averages(node) else node, opt_state, is_leaf=_holds_averages)


def _holds_averages(node: PyTree) -> bool:
    return isinstance(node, Averages)


def _absent(node: PyTree) -> bool:
    """Whether a parameter is none that the optimizer moves."""
    return isinstance(node, optax.MaskedNode)
