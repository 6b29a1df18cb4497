"""Models for PyTorch tools: official names as safetensors, or a folder that braindecode's `Labram` opens.

Everything is written under a temporary name and renamed when it is whole.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save_file

from labram_jax.config import ClassifierConfig, MaskedModelConfig, ModelConfig, TokenizerConfig, replace
from labram_jax.configfile import to_dict
from labram_jax.convert.braindecode import CONFIG_FILE, config_of, to_braindecode
from labram_jax.convert.official import to_official
from labram_jax.convert.source import CONFIG_KEY, SEEN_KEY
from labram_jax.convert.weight_files import WEIGHT_FILES
from labram_jax.errors import InputError

Pooling = Literal["mean", "class_token"]


def unused_tensors(config: ModelConfig) -> dict[str, np.ndarray]:
    """What the official classes hold beside what they use, so that they load an export strictly.

    Weights that nothing reads are zeros; the codebook counts as started.
    """
    if isinstance(config, MaskedModelConfig):
        width, codes = config.encoder.width, config.codes
        shapes = {
            "student.lm_head.weight": (codes, width),
            "student.lm_head.bias": (codes,),
            "projection_head.0.weight": (width, width),
            "projection_head.0.bias": (width,),
        }
    elif isinstance(config, TokenizerConfig):
        codes, dimension = config.quantizer.codes, config.quantizer.dimension
        shapes = {"quantize.embedding.cluster_size": (codes,), "quantize.embedding.embed_avg": (codes, dimension)}
    else:
        shapes = {}
    tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    if isinstance(config, TokenizerConfig):
        tensors["quantize.embedding.initted"] = np.ones(1, np.float32)
    return tensors


def check_holdable(config: ModelConfig) -> None:
    """Raises InputError for what no class of PyTorch has a place for."""
    encoder = config.encoder
    reasons = {"encoder.amplitude": encoder.amplitude}
    if isinstance(config, TokenizerConfig):
        reasons |= {"a head for the log amplitude": config.log_amplitude}
    if isinstance(config, ClassifierConfig):
        reasons |= {f"pooling {config.pooling!r}": config.pooling not in ("mean", "class_token")}
        reasons |= {"the amplitude of each electrode": config.amplitude, "that of each filter": config.filters}
    found = [name for name, holds in reasons.items() if holds]
    if found:
        raise InputError(
            f"The model has {' and '.join(found)}, for which neither the official classes nor braindecode's have "
            "a place: use it as it is (labram_jax.load), or train one without."
        )


def with_plain_head(variables: Mapping[str, Any], config: ModelConfig) -> tuple[Mapping[str, Any], ModelConfig]:
    """The model with mean and spread of a regressor's targets folded into its head, where it has them."""
    if not isinstance(config, ClassifierConfig) or not config.target_scale:
        return variables, config
    scale, mean = (np.asarray(values, np.float32) for values in (config.target_scale, config.target_mean))
    head = variables["params"]["head"]
    head = {"kernel": np.asarray(head["kernel"]) * scale, "bias": np.asarray(head["bias"]) * scale + mean}
    config = replace(config, target_mean=(), target_scale=())
    return {**variables, "params": {**variables["params"], "head": head}}, config


def write_official(
    path: Path, variables: Mapping[str, Any], config: ModelConfig, seen: Mapping[str, Any] | None = None
) -> None:
    """Writes a safetensors file of official names; its header carries the ledger of whom the model saw, if given.

    Raises InputError if there is something at `path` already, and for a model that official names cannot hold.
    """
    check_holdable(config)
    _check_free(path)
    variables, config = with_plain_head(variables, config)
    tensors = {**to_official(variables, config), **unused_tensors(config)}
    part = path.with_name(path.name + ".part")
    try:
        save_file(tensors, part, _metadata(config, seen))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_braindecode(
    path: Path,
    variables: Mapping[str, Any],
    config: ModelConfig,
    seen: Mapping[str, Any] | None = None,
    *,
    seconds: int,
    pooling: Pooling = "mean",
) -> list[str]:
    """Writes a folder for braindecode's `Labram.from_pretrained`; returns what its user should know.

    Args:
        path: the folder, which must not exist.
        variables: of a classifier, or of a pretrained encoder (exported without a head).
        config: theirs.
        seen: the ledger of whom the model saw, which the weights' header carries.
        seconds: length of the windows, which braindecode fixes.
        pooling: how an encoder's tokens become a feature; a classifier has its own.
    """
    _check_free(path)
    options, tensors = as_braindecode(variables, config, seconds, pooling)
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        save_file(tensors, part / WEIGHT_FILES[0], _metadata(with_plain_head(variables, config)[1], seen))
        (part / CONFIG_FILE).write_text(json.dumps(options, indent=2) + "\n")
        part.replace(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    notes = [
        f"braindecode takes windows of exactly {seconds} s at 200 Hz in units of 100 microvolts: divide by 100 first",
        "give it the electrodes: model(eeg, ch_names=[...])",
    ]
    if config.encoder.class_position == "first_electrode":
        notes.append(
            "its class token has row 0 of the position embedding, as in fine-tuning; in pretraining it had the row of "
            "the first electrode, so features differ slightly from Encoder.features"
        )
    return notes


def as_braindecode(
    variables: Mapping[str, Any], config: ModelConfig, seconds: int, pooling: Pooling = "mean"
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What braindecode's `Labram` is made with, and its tensors; arguments as in `write_braindecode`.

    Raises InputError for a model that it cannot be, and for windows that are too long.
    """
    check_holdable(config)
    if isinstance(config, TokenizerConfig):
        raise InputError("braindecode has no tokenizer: export it to a .safetensors file of official names.")
    official, classifier, outputs = _fine_tuning_tensors(*with_plain_head(variables, config), pooling)
    return config_of(classifier, outputs, seconds), to_braindecode(official, seconds)


def _fine_tuning_tensors(
    variables: Mapping[str, Any], config: MaskedModelConfig | ClassifierConfig, pooling: Pooling
) -> tuple[dict[str, np.ndarray], ClassifierConfig, int]:
    """Official tensors of the fine-tuning model, its configuration, and its outputs (0 without a head)."""
    if isinstance(config, ClassifierConfig):
        return to_official(variables, config), config, config.outputs
    classifier = ClassifierConfig(replace(config.encoder, class_position="class_row"), pooling=pooling)
    params = variables["params"]
    head = {"kernel": np.zeros((config.encoder.width, 1), np.float32), "bias": np.zeros(1, np.float32)}
    named = to_official({"params": {"encoder": params["encoder"], "norm": params["norm"], "head": head}}, classifier)
    return {name: tensor for name, tensor in named.items() if not name.startswith("head.")}, classifier, 0


def _metadata(config: ModelConfig, seen: Mapping[str, Any] | None) -> dict[str, str]:
    """What a safetensors header carries: torch's mark, and the configuration, so that nothing need be inferred."""
    carried = {} if seen is None else {SEEN_KEY: json.dumps(seen)}
    return {"format": "pt", CONFIG_KEY: json.dumps(to_dict(config)), **carried}


def _check_free(path: Path) -> None:
    if path.exists():
        raise InputError(f"{path} exists already: choose another path or remove it first.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"There is no directory {path.absolute().parent} to write {path.name} into: make it first.")
