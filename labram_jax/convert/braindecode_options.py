"""braindecode's `Labram` recognised with its options: each that changes numbers is honoured, or refused by its name.

A folder's config.json tells every option since braindecode 1.4. Where it is missing, names and shapes of tensors show
most of them, and the others are assumed, which is told. Until 1.3 `Labram` was another model: a learned map stood
before the temporal convolution, the electrodes of the position embedding were the model's own in their order, the class
token had the row of the first of them, time began with the second row, and layer norms had another epsilon.
"""

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from labram_jax.config import ELECTRODE_ROWS, PATCH_SAMPLES, SAMPLE_RATE, TIME_ROWS, replace
from labram_jax.convert.braindecode import LAYER_NORM, TO_OFFICIAL, heads_of, renamed
from labram_jax.convert.recognise import Recognised, as_no_model, recognise
from labram_jax.errors import InputError

Tensors = Mapping[str, np.ndarray]
Options = Mapping[str, Any]

# The values with which braindecode computes what the models here do.
COMPUTED: Mapping[str, tuple] = MappingProxyType(
    {
        "learned_patcher": (False,),
        "neural_tokenizer": (True,),
        "patch_size": (PATCH_SAMPLES,),
        "activation": ("torch.nn.modules.activation.GELU", "torch.nn.GELU"),
        "norm_layer": (LAYER_NORM, "torch.nn.LayerNorm"),
        "qk_norm": (LAYER_NORM, "torch.nn.LayerNorm", None),
    }
)
# Of those that no tensor shows, the usual values.
UNSEEN = MappingProxyType({"activation": "GELU", "qk_scale": "None"})
# Options that are honoured below, or that tensors show, or that change no output.
OTHERS = frozenset(
    (
        *("n_times", "n_outputs", "chs_info", "n_chans", "sfreq", "input_window_seconds", "braindecode_version"),
        *("embed_dim", "conv_in_channels", "conv_out_channels", "num_layers", "num_heads", "mlp_ratio", "qkv_bias"),
        *("qk_scale", "drop_prob", "attn_drop_prob", "drop_path_prob", "init_values", "use_abs_pos_emb"),
        *("use_mean_pooling", "init_scale", "attn_head_dim", "on_unknown_chs"),
    )
)


def recognise_braindecode(tensors: Tensors, options: Options, where: str) -> Recognised:
    """The model that tensors under braindecode's names are.

    Args:
        tensors: by their names there.
        options: its config.json; empty where there is none.
        where: what is read, for messages.

    Raises:
        InputError: an option makes it compute what no model here does, config.json denies what the tensors are, or they
            are none.
    """
    with as_no_model(where):
        refused = _refused(tensors, options)
    if refused:
        raise InputError(
            f"{where} is a Labram of braindecode{_version(options, tensors)} with {', '.join(refused)}, with which it "
            "computes what no LaBraM here does: train it in braindecode 1.4 or later without."
        )
    names = {renamed(name, TO_OFFICIAL): name for name in tensors}
    official = {name: tensors[own] for name, own in names.items()}
    if official["time_embed"].ndim == 3:
        official["time_embed"] = official["time_embed"][:, :TIME_ROWS]  # the row after its last second is never read
    made = {}
    width = official["cls_token"].shape[-1]
    if "pos_embed" not in official and options.get("use_abs_pos_emb") is not True:
        official["pos_embed"] = np.zeros((1, ELECTRODE_ROWS, width), np.float32)
        made = {"pos_embed": "zeros, since braindecode's use_abs_pos_emb is off"}
    found = recognise(official, where, heads_of(options))
    own = {name: found.names.get(name, name) for name in found.tensors}
    found.names = {name: names[official] for name, official in own.items() if official in names}
    found.made = {name: made[official] for name, official in own.items() if official in made}
    found.what = f"braindecode's Labram ({found.what.removeprefix('an official ')})"
    _check_agreement(found, tensors, options, where)
    _honour(found, options, where)
    _tell(found, options)
    return found


def _refused(tensors: Tensors, options: Options) -> list[str]:
    """The options, with their values, that no model here has; those that config.json tells, then those shown alone."""
    told = [f"{name}={_text(options[name])}" for name in COMPUTED if name in options and not _computed(options, name)]
    named = {option.partition("=")[0] for option in told}
    return told + [option for option in _shown(tensors, options) if option.partition("=")[0] not in named]


def _computed(options: Options, name: str) -> bool:
    return any(options[name] == value and type(options[name]) is type(value) for value in COMPUTED[name])


def _shown(tensors: Tensors, options: Options) -> list[str]:
    """The same by names and shapes of tensors."""
    found, width = [], tensors["cls_token"].shape[-1]
    if any(name.startswith("patch_embed.segment_patch.patcher.") for name in tensors):
        found.append("learned_patcher=True")
    if any(name.startswith("patch_embed.segment_patch.proj.") or "relative_position" in name for name in tensors):
        found.append("neural_tokenizer=False")
    if any(name.startswith("interpolation_layer.") for name in tensors):
        found.append("interpolation_layer (an InterpolatedLaBraM)")
    if _old_electrodes(tensors):
        rows = tensors["position_embedding"].shape[1]
        found.append(f"n_chans={rows - 1} (position rows of electrodes of its own, in their order)")
    queries, inner = tensors.get("blocks.0.attn.qkv.weight"), tensors.get("blocks.0.mlp.0.weight")
    if queries is not None and width and len(queries) != 3 * width:
        found.append(f"attn_head_dim={_head_width(tensors, options)} (queries of {len(queries) // 3} features)")
    if inner is not None and width and (len(inner) % width or not len(inner)):
        found.append(f"mlp_ratio={len(inner) / width:g}")
    samples = options.get("n_times")
    if isinstance(samples, int) and samples < PATCH_SAMPLES:
        found.append(f"n_times={samples} (less than a patch)")
    return found


def _head_width(tensors: Tensors, options: Options) -> str:
    """Features of each attention head, by whatever tells them."""
    norm, heads = tensors.get("blocks.0.attn.q_norm.weight"), heads_of(options)
    of_heads = len(tensors["blocks.0.attn.qkv.weight"]) // 3 // heads if heads else "unknown"
    return _text(options.get("attn_head_dim") or (of_heads if norm is None else len(norm)))


def _old_electrodes(tensors: Tensors) -> bool:
    table = tensors.get("position_embedding")
    return table is not None and table.ndim == 3 and table.shape[1] != ELECTRODE_ROWS


def _version(options: Options, tensors: Tensors) -> str:
    version = _text(options.get("braindecode_version") or "")
    numbers = re.match(r"(\d+)\.(\d+)", version)
    old = (int(numbers[1]), int(numbers[2])) < (1, 4) if numbers else _old_electrodes(tensors)
    until = ", one of those until 1.3, whose electrode and time rows are others," if old else ""
    return f"{' ' * bool(version)}{version}{until}"


def _text(value: Any) -> str:
    return " ".join(str(value).split())[:80]


def _check_agreement(found: Recognised, tensors: Tensors, options: Options, where: str) -> None:
    """Raises InputError where config.json tells of an option what the tensors deny."""
    encoder = found.config.encoder
    held = {
        "use_mean_pooling": "fc_norm.weight" in tensors,
        "qkv_bias": encoder.qkv_bias,
        "qk_norm": encoder.qk_norm,
        "init_values": encoder.layer_scale > 0,
        "use_abs_pos_emb": not found.made,
    }
    for name, holds in held.items():
        if name in options and bool(options[name]) != holds:
            raise InputError(
                f"{where}: config.json says {name}={_text(options[name])}, but the tensors are those of a model "
                f"{'with' if holds else 'without'} it: obtain both from one place."
            )
    if "num_layers" in options and options["num_layers"] != encoder.depth:
        raise InputError(
            f"{where}: config.json says num_layers={_text(options['num_layers'])}, but there are tensors of "
            f"{encoder.depth} blocks: obtain both from one place."
        )


def _honour(found: Recognised, options: Options, where: str) -> None:
    """Brings into the model what its tensors do not hold."""
    encoder = found.config.encoder
    start, drop = options.get("init_values"), options.get("drop_path_prob")
    if _is_number(start) and start > 0:
        found.config = replace(found.config, **{"encoder.layer_scale": float(start)})
    if _is_number(drop) and 0 <= drop < 1:
        found.config = replace(found.config, **{"encoder.drop_path": float(drop)})
    if scale := options.get("qk_scale"):
        if not _is_number(scale):
            raise InputError(f"{where}: config.json says qk_scale={_text(scale)}, which is no number: mend it.")
        _scale_queries(found, scale * math.sqrt(encoder.width // encoder.heads))
        part = "norm" if encoder.qk_norm else "map"
        found.notes.append(f"qk_scale {scale:g} was multiplied into the queries' {part}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _scale_queries(found: Recognised, factor: float) -> None:
    """Multiplies the queries of every block: attention is then scaled as all models here scale it."""
    width = found.config.encoder.width
    for name, tensor in found.tensors.items():
        if re.search(r"\.attn\.(q_norm\.(weight|bias)|q_bias)$", name):
            # With a norm behind them, biases of the queries are scaled there.
            if not (name.endswith("q_bias") and found.config.encoder.qk_norm):
                found.tensors[name] = (tensor.astype(np.float64) * factor).astype(np.float32)
        elif name.endswith(".attn.qkv.weight") and tensor.ndim == 2 and not found.config.encoder.qk_norm:
            rows = np.where(np.arange(len(tensor)) < width, factor, 1.0)[:, None]
            found.tensors[name] = (tensor.astype(np.float64) * rows).astype(np.float32)


def _tell(found: Recognised, options: Options) -> None:
    """What a user must know of options that nothing tells, or that no model here has a place for."""
    unseen = [f"{name} {usual}" for name, usual in UNSEEN.items() if name not in options]
    if unseen:
        found.assumed.append(f"braindecode's {' and '.join(unseen)}, of which tensors tell nothing")
    rate = options.get("sfreq")
    if _is_number(rate) and rate != SAMPLE_RATE:
        found.cautions.append(f"its windows had {rate:g} samples a second (sfreq), and here they have {SAMPLE_RATE}")
    unknown = sorted(set(options) - OTHERS - set(COMPUTED))
    if unknown:
        found.cautions.append(f"nothing is known here of its options {', '.join(map(_text, unknown))}")
    for name in ("drop_prob", "attn_drop_prob"):
        if options.get(name):
            found.notes.append(f"{name}={_text(options[name])}: left out, as training here has no such dropout")
