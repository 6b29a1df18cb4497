"""braindecode's `Labram`: its tensor names beside the official ones, its configuration, its folders.

Its fine-tuning model computes what the official one does, under other names. Its time embedding has one row more than
its windows have seconds, and the last row is never read.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from labram_jax.config import PATCH_SAMPLES, SAMPLE_RATE, TIME_ROWS, ClassifierConfig
from labram_jax.errors import InputError

CONFIG_FILE = "config.json"
ELECTRODES = 128
LAYER_NORM = "torch.nn.modules.normalization.LayerNorm"
# Pattern and replacement, from the official names to braindecode's and back.
TO_BRAINDECODE = (
    (r"^pos_embed$", "position_embedding"),
    (r"^time_embed$", "temporal_embedding"),
    (r"^patch_embed\.", "patch_embed.temporal_conv."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
    (r"^head\.", "final_layer."),
)
TO_OFFICIAL = (
    (r"^position_embedding$", "pos_embed"),
    (r"^temporal_embedding$", "time_embed"),
    (r"^patch_embed\.temporal_conv\.", "patch_embed."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"^final_layer\.", "head."),
)


def is_braindecode(tensors: Mapping[str, np.ndarray]) -> bool:
    return "temporal_embedding" in tensors and "cls_token" in tensors


def renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    return name


def heads_of(config: Mapping[str, Any] | None) -> int | None:
    """Attention heads by braindecode's config.json, where there is one that says so."""
    heads = (config or {}).get("num_heads")
    return heads if type(heads) is int and heads > 0 else None


def config_of(config: ClassifierConfig, outputs: int, seconds: int) -> dict[str, Any]:
    """What braindecode's constructor must be given; windows last `seconds`, and with 0 outputs there is no head."""
    encoder = config.encoder
    return {
        "n_times": seconds * PATCH_SAMPLES,
        "n_outputs": outputs,
        "n_chans": ELECTRODES,
        "sfreq": SAMPLE_RATE,
        "patch_size": PATCH_SAMPLES,
        "embed_dim": encoder.width,
        "conv_out_channels": encoder.temporal_channels,
        "num_layers": encoder.depth,
        "num_heads": encoder.heads,
        "mlp_ratio": float(encoder.mlp_ratio),
        "qkv_bias": encoder.qkv_bias,
        "qk_norm": LAYER_NORM if encoder.qk_norm else None,
        "init_values": encoder.layer_scale or None,
        "drop_path_prob": encoder.drop_path,
        "use_mean_pooling": config.pooling == "mean",
        "neural_tokenizer": True,
    }


def to_braindecode(official: Mapping[str, np.ndarray], seconds: int) -> dict[str, np.ndarray]:
    """Tensors under braindecode's names, for windows of `seconds`; raises InputError for windows that are too long."""
    if not 1 <= seconds <= TIME_ROWS:
        raise InputError(f"Windows of {seconds} s cannot be exported: give 1 to {TIME_ROWS} seconds.")
    tensors = {renamed(name, TO_BRAINDECODE): tensor for name, tensor in official.items()}
    time = tensors["temporal_embedding"]
    rows = np.pad(time, ((0, 0), (0, 1), (0, 0)))[:, : seconds + 1]
    return {**tensors, "temporal_embedding": np.ascontiguousarray(rows)}
