"""Fitted linear maps as the parameters of a classifier's heads."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from labram_jax.adaptation.linear import Fit, Map
from labram_jax.config import ELECTRODE_ROWS, ClassifierConfig
from labram_jax.models.readout import USUAL_ELECTRODES


def head_of(model: ClassifierConfig, maps: Sequence[Map], fit: Fit, rows: Sequence[int]) -> dict[str, Any]:
    """Parameters of the heads that give what the fit gives: of the pooled features, and of what stands beside them.

    `rows`: the rows of the electrode vocabulary that the maps are of; those of other electrodes are zeros.
    """
    pooled, *beside = maps

    def at_rows(values: np.ndarray) -> np.ndarray:
        whole = np.zeros((ELECTRODE_ROWS, *values.shape[1:]), np.float32)
        whole[np.asarray(rows)] = values
        return whole

    if model.pooling == "electrodes":
        head = {
            "kernel": at_rows(USUAL_ELECTRODES * pooled.kernel),
            "offset": at_rows(USUAL_ELECTRODES * pooled.offset.sum(axis=1)),
            "bias": fit.bias,
        }
    else:
        head = {"kernel": pooled.kernel, "bias": fit.bias + pooled.offset.sum(axis=0)}
    found = {"head": head}
    names = [name for name, shown in (("amplitude_head", model.amplitude), ("filter_head", model.filters)) if shown]
    for name, own in zip(names, beside, strict=True):
        outputs = own.offset.shape[-1]
        found[name] = {
            "kernel": at_rows(own.kernel.reshape(len(rows), -1, outputs)),
            "offset": at_rows(own.offset.reshape(len(rows), -1, outputs).sum(axis=1)),
        }
    return found
