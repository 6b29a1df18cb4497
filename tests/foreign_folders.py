"""Folders as other tools would save them, of the golden tensors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from golden_data import imported_encoder, tiny_classifier
from safetensors.numpy import save_file

from labram_jax.convert.braindecode import config_of, to_braindecode

# What config.json of braindecode tells beside what an export of this project does.
USUAL = {
    "chs_info": None, "input_window_seconds": None, "learned_patcher": False, "conv_in_channels": 1, "qk_scale": None,
    "drop_prob": 0.0, "attn_drop_prob": 0.0, "norm_layer": "torch.nn.modules.normalization.LayerNorm",
    "use_abs_pos_emb": True, "init_scale": 0.001, "attn_head_dim": None,
    "activation": "torch.nn.modules.activation.GELU", "braindecode_version": "1.8.1",
}  # fmt: skip


def braindecode_folder(
    folder: Path,
    seconds: int = 15,
    without_head: bool = False,
    tensors: dict[str, np.ndarray | None] | None = None,
    untold: tuple[str, ...] = (),
    **told: Any,
) -> Path:
    """As braindecode would save the golden classifier for windows of so many seconds.

    `tensors` take the place of its own, None of one that is not there; so do `told` for options of config.json, which
    does not hold those `untold`.
    """
    dropped = ("mask_token", "lm_head", "norm.") + (("head.",) if without_head else ())
    official = {name: tensor for name, tensor in imported_encoder("cls6").items() if not name.startswith(dropped)}
    folder.mkdir()
    own = {**to_braindecode(official, seconds), **(tensors or {})}
    save_file({name: tensor for name, tensor in own.items() if tensor is not None}, folder / "model.safetensors")
    config = {**config_of(tiny_classifier(6), 0 if without_head else 6, seconds), **USUAL, **told}
    (folder / "config.json").write_text(json.dumps({name: config[name] for name in config if name not in untold}))
    return folder
