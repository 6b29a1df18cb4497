"""What the torch face says where there is no PyTorch; what it gives is held to braindecode itself in `make interop`."""

import sys

from golden_data import FOLDER
from sentences import refuses

import labram_jax


def test_without_pytorch_a_sentence_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with refuses("torch_module needs PyTorch and braindecode .*: install them"):
        labram_jax.interop.torch_module(labram_jax.load(FOLDER / "labram.pth"), ["FZ"], 4)
