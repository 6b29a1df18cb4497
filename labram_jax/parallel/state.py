"""What training carries from step to step."""

from typing import Any

from flax import struct
from jaxtyping import Array, Int, Shaped

PyTree = Any


@struct.dataclass
class TrainState:
    """Everything a step needs and returns; a pytree.

    Attributes:
        step: batches seen so far, int32.
        params: what the optimizer moves.
        collections: what the model moves by itself, by collection ({"codebook": ...}, or empty).
        opt_state: the optimizer's moments and counts.
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
