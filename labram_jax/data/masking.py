"""Which patches masked modelling hides: half of each window's, drawn at random."""

import numpy as np
from jaxtyping import Bool, Float

RATIO = 0.5


def hidden(noise: Float[np.ndarray, "*batch patches"]) -> Bool[np.ndarray, "*batch patches"]:
    """Returns the mask (True = hidden) that uniform `noise` in [0, 1) gives, each window for itself.

    As in the reference, the int(patches / 2) patches with the smallest noise stay visible and all others are
    hidden: of an odd number, one more is hidden than stays.
    """
    visible = np.argsort(noise, axis=-1)[..., : int(noise.shape[-1] * (1 - RATIO))]
    mask = np.ones(noise.shape, dtype=bool)
    np.put_along_axis(mask, visible, False, axis=-1)
    return mask


def draw(generator: np.random.Generator, patches: int) -> Bool[np.ndarray, "patches"]:
    """Draws the mask of one window."""
    return hidden(generator.random(patches, dtype=np.float32))
