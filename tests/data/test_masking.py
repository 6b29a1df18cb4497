from pathlib import Path

import numpy as np
import pytest

from labram_jax.data import masking

GOLDEN = Path(__file__).parents[1] / "golden" / "pretrain.npz"


@pytest.mark.parametrize("case", ["even", "odd21"])
def test_masks_equal_the_reference(case):
    with np.load(GOLDEN) as golden:
        np.testing.assert_array_equal(masking.hidden(golden[f"masking/uniform_{case}"]), golden[f"masking/mask_{case}"])


@pytest.mark.parametrize(("patches", "hidden"), [(1, 1), (2, 1), (21, 11), (230, 115)])
def test_half_of_a_window_is_hidden_at_different_places(patches, hidden):
    generator = np.random.default_rng(0)
    masks = np.stack([masking.draw(generator, patches) for _ in range(50)])
    assert (masks.sum(axis=1) == hidden).all()
    assert patches == 1 or (masks.any(axis=0).all() and not masks.all(axis=0).any())
