"""Models of this project as modules of PyTorch, for tools that know no others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labram_jax.config import MICROVOLTS_PER_UNIT
from labram_jax.convert.exporting import Pooling, as_braindecode
from labram_jax.errors import InputError, first_words
from labram_jax.inference import Classifier, Encoder
from labram_jax.montage import ELECTRODES, check_seconds, electrode_ids

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _InMicrovolts:
    """Called before a module's forward: from microvolts to what the model takes, and the electrodes to their names."""

    electrodes: tuple[str, ...]

    def __call__(self, module: "torch.nn.Module", args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        named = dict(kwargs, ch_names=list(self.electrodes))
        if args:
            return (args[0] / MICROVOLTS_PER_UNIT, *args[1:]), named
        return args, {**named, "x": kwargs["x"] / MICROVOLTS_PER_UNIT}


def torch_module(
    model: Encoder | Classifier,
    electrodes: Sequence[str],
    seconds: int,
    *,
    pool: Pooling = "mean",
    outputs: int | None = None,
) -> "torch.nn.Module":
    """Returns braindecode's `Labram` with the outputs of a model, for EEG in microvolts at 200 Hz.

    The module takes float tensors [B, C, 200 * seconds] and gives what `predict_logits` ([B, outputs]) or `features`
    ([B, D]) give. Its parameters can be trained, its head is `final_layer`, and what `save_pretrained` writes of it is
    a folder of braindecode, whose user divides by 100 and names the electrodes.

    Args:
        model: what was loaded.
        electrodes: names of the C channels, in any usual spelling.
        seconds: length of the windows, 1 to 16, which is fixed.
        pool: how an encoder's tokens become a feature; a classifier has its own way.
        outputs: gives it a fresh head with so many outputs; None keeps that of a classifier, and an encoder has none.

    Raises:
        InputError: the model is a tokenizer, or has what braindecode's class has no place for, or PyTorch or
            braindecode is not installed.
    """
    try:
        import torch
        from braindecode.models import Labram
    except ImportError as error:
        raise InputError(
            f"torch_module needs PyTorch and braindecode ({first_words(error)}): install them, as `make interop` does."
        ) from error
    seconds, ids = check_seconds(seconds), electrode_ids(electrodes)
    options, tensors = as_braindecode(model.variables, model.config, seconds, pool)
    if model.config.encoder.class_position == "first_electrode":
        # There the class token has row 0 of the positions: the row that it had in pretraining takes its place.
        positions = np.array(tensors["position_embedding"])
        positions[:, 0] = positions[:, ids[0]]
        tensors["position_embedding"] = positions
    module = Labram.from_config(options)
    module.load_state_dict({name: torch.from_numpy(np.array(tensor)) for name, tensor in tensors.items()})
    if outputs is not None:
        if outputs < 1:
            raise InputError(f"A head of {outputs} outputs cannot be: give 1 or more, or leave outputs out.")
        module.reset_head(outputs)
    names = tuple(ELECTRODES[row - 1] for row in ids)
    module.register_forward_pre_hook(_InMicrovolts(names), with_kwargs=True)
    return module.eval()
