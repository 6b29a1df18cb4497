"""`labram-jax convert`: any model that can be read, to any form that can be written."""

from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from labram_jax.checkpoints.files import SEEN
from labram_jax.checkpoints.ledger import Ledger
from labram_jax.checkpoints.models import find_model, load_model, read_meta, save_model
from labram_jax.config import AnyStageConfig, FinetuningStageConfig, ModelConfig, TokenizerConfig
from labram_jax.configfile import from_dict, to_dict
from labram_jax.convert.exporting import Pooling, write_braindecode, write_official
from labram_jax.convert.importing import import_model
from labram_jax.convert.source import is_foreign, read_seen
from labram_jax.errors import InputError
from labram_jax.models import lora
from labram_jax.obtain import located

Target = Literal["auto", "jax", "official", "braindecode"]


def read_model(path: str | Path, weights: str | None = None) -> tuple[dict[str, Any], ModelConfig]:
    """Variables (numpy) and configuration of the model in a run, a checkpoint, an exported model, or a file of PyTorch.

    `path` may also be a name or an address of `obtain.located`; `weights` is what of a file to take where it holds
    several models, such as model_ema. Raises InputError where there is none, or where it is damaged.
    """
    variables, config = read_trained(path, weights)
    if isinstance(config, FinetuningStageConfig) and config.trainable == "lora":
        params = lora.merged(variables["params"], config.lora_scale)
        variables = {**variables, "params": jax.tree.map(np.asarray, params)}
    return variables, getattr(config, "model", config)


def read_trained(path: str | Path, weights: str | None = None) -> tuple[dict[str, Any], AnyStageConfig | ModelConfig]:
    """As `read_model`, but of a run or its checkpoints as they are trained: with the configuration of their stage."""
    path = located(path)
    if is_foreign(path):
        imported = import_model(path, weights)
        return imported.variables, imported.config
    if weights is not None:
        raise InputError(f"{path} holds one model: leave weights={weights!r} out, which is for files of PyTorch.")
    variables, values = load_model(path)
    return variables, from_dict(values, str(path))


def read_tokenizer(path: str | Path) -> tuple[dict[str, Any], TokenizerConfig]:
    """Variables (numpy) and configuration of a trained tokenizer; raises InputError for anything else."""
    variables, tokenizer = read_model(path)
    if not isinstance(tokenizer, TokenizerConfig):
        raise InputError(f"{path} holds no tokenizer: give a run of the tokenizer stage.")
    return variables, tokenizer


def read_ledger(path: str | Path) -> Ledger:
    """Whom the model in a run, a checkpoint, an exported model or a file of PyTorch saw in training.

    Raises InputError where there is none, or where it is damaged.
    """
    path = located(path)
    if not is_foreign(path):
        return Ledger.read(read_meta(find_model(path)).get(SEEN), str(path))
    known, seen = read_seen(path)
    if seen is not None:
        return Ledger.read(seen, str(path))
    return Ledger(published=(known,)) if known else Ledger(elsewhere=(str(path),))


def convert(
    source: str | Path,
    dest: Path,
    to: Target = "auto",
    *,
    strict: bool = False,
    weights: str | None = None,
    seconds: int = 15,
    pooling: Pooling = "mean",
) -> str:
    """Reads a model and writes it in another form; returns the report.

    Args:
        source: a run, a checkpoint, an exported model, a .pth or .safetensors file, a folder of braindecode, or a name
            or an address of `obtain.located`.
        dest: what to write, which must not exist.
        to: the form; "auto" is official for a .safetensors file and jax otherwise.
        strict: refuse left-over tensors and fresh parameters.
        weights: what of a file to take, such as model_ema: an entry of a checkpoint, or tensors that begin so.
        seconds: length of the windows of a braindecode model.
        pooling: of an encoder that becomes a braindecode model.

    Raises:
        InputError: the source cannot be read, or the form does not suit it.
    """
    source = located(source)
    if to == "auto":
        to = "official" if dest.suffix == ".safetensors" else "jax"
    if to == "official" and dest.suffix != ".safetensors":
        raise InputError(f"{dest} must end with .safetensors, in which official names are written.")
    if dest.exists():
        raise InputError(f"{dest} exists already: choose another path or remove it first.")
    foreign = is_foreign(source)
    if not foreign and to == "jax":
        raise InputError(
            f"{find_model(source)} is a checkpoint of this project already: give a DEST that ends with "
            ".safetensors, or --to braindecode."
        )
    if not foreign and (weights is not None or strict):
        raise InputError("--weights and --strict are for files of PyTorch: leave them out.")
    if foreign:
        imported = import_model(source, weights, strict)
        variables, config, lines = imported.variables, imported.config, [imported.report.text()]
    else:
        (variables, config), lines = read_model(source), []
    seen = read_ledger(source)
    if to == "jax":
        save_model(dest, variables, to_dict(config), seen)
    elif to == "official":
        write_official(dest, variables, config, seen.plain())
    else:
        lines += write_braindecode(dest, variables, config, seen.plain(), seconds=seconds, pooling=pooling)
    return "\n".join([*lines, f"written to {dest}"])
