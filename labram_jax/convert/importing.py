"""A model of PyTorch, safetensors or braindecode as variables of this project, with a report of every tensor."""

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from labram_jax.config import TIME_ROWS, ClassifierConfig, EncoderConfig, MaskedModelConfig, ModelConfig
from labram_jax.configfile import from_dict
from labram_jax.convert.braindecode import is_braindecode
from labram_jax.convert.braindecode_options import recognise_braindecode
from labram_jax.convert.official import Tensor, from_official, official_tensors
from labram_jax.convert.pickled_objects import brief
from labram_jax.convert.recognise import Recognised, reason_unused, recognise
from labram_jax.convert.report import ConversionReport, ParameterLine, TensorLine
from labram_jax.convert.source import Source, read_source
from labram_jax.errors import InputError
from labram_jax.models import ClassifierModel, MaskedModel, dense_batch

NOT_CALLED = "no parameter of the model takes it"


@dataclass(frozen=True)
class Imported:
    """A model as it came in: variables (numpy), configuration, what became of every tensor, and the source itself."""

    variables: dict[str, Any]
    config: ModelConfig
    report: ConversionReport
    source: Source


def import_model(path: str | Path, weights: str | None = None, strict: bool = False) -> Imported:
    """Reads a model from a file of torch.save or safetensors, or from a folder of braindecode.

    Size, options, vocabulary and code dimension follow from the tensors; a file that `labram-jax convert` wrote carries
    its configuration. Warns of what was assumed, of tensors left over and of parameters that start afresh.

    Args:
        path: the file or folder.
        weights: what of a file to take, such as model_ema: an entry of a checkpoint, or tensors that begin so.
        strict: refuse what would leave a tensor out for no known reason, or start a parameter afresh.

    Raises:
        InputError: the source cannot be read, is no LaBraM model, lacks a tensor, or has one of another shape.
    """
    source = read_source(path, weights)
    tensors, config, report = match(source)
    if strict:
        report.check_strict()
    # Here, where every door leads through, so that none lets a difference pass in silence.
    if warning := report.warning():
        warnings.warn(warning, stacklevel=2)
    return Imported(from_official(tensors, config), config, report, source)


def match(source: Source) -> tuple[dict[str, np.ndarray], ModelConfig, ConversionReport]:
    """The official tensors (float32) that a model takes from a source, its configuration, and the report.

    Raises InputError as `import_model` does; nothing is copied yet.
    """
    found = _recognised(source)
    tensors, fresh = _completed(found, source)
    return tensors, found.config, _report(found, source, fresh)


def _recognised(source: Source) -> Recognised:
    where, exported = str(source.path), source.config
    if is_braindecode(source.tensors):
        found = recognise_braindecode(source.tensors, {} if exported else source.options, where)
    else:
        found = recognise(source.tensors, where)
    if exported:
        own = from_dict(exported, where)
        if type(own) is not type(found.config):
            raise InputError(f"{where} says that it is another kind of model than its tensors are: export it anew.")
        found.config, found.assumed = own, []
    elif source.known:
        found.assumed = []  # of a file that everyone has, nothing need be assumed
    return found


def _completed(found: Recognised, source: Source) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The official tensors that the model needs, in float32, and what of them is fresh."""
    tensors: dict[str, np.ndarray] = {}
    lacking: list[Tensor] = []
    for entry in official_tensors(found.config):
        given = found.tensors.get(entry.name)
        if given is None and entry.name not in found.fresh:
            raise InputError(f"{source.path} is not whole: it lacks {entry.name} {list(entry.official_shape)}.")
        if given is None or _has_few_rows(entry, given):
            lacking.append(entry)
        elif given.shape != entry.official_shape:
            raise InputError(
                f"{source.path}: {found.names.get(entry.name, entry.name)} has the shape {list(given.shape)}, but the "
                f"model's {'/'.join(entry.path)} takes {list(entry.official_shape)}."
            )
        else:
            tensors[entry.name] = _float32(given, source)
    fresh = {}
    for name, start in _fresh_tensors(found.config, lacking).items():
        given = found.tensors.get(name)
        if given is None:
            tensors[name], fresh[name] = start, "freshly started: the source has none"
        else:
            rows = given.shape[1]
            tensors[name] = np.concatenate([_float32(given, source), start[:, rows:]], axis=1)
            fresh[name] = f"rows {rows} to {TIME_ROWS - 1} freshly started: the source has windows of {rows - 1} s"
    return tensors, fresh


def _has_few_rows(entry: Tensor, given: np.ndarray) -> bool:
    """Whether it is a time embedding for shorter windows, as braindecode keeps them."""
    rows, width = entry.official_shape[1:] if len(entry.official_shape) == 3 else (0, 0)
    return (
        entry.name.endswith("time_embed")
        and given.ndim == 3
        and given.shape[0] == 1
        and (given.shape[2] == width and 1 < given.shape[1] < rows)
    )


def _float32(tensor: np.ndarray, source: Source) -> np.ndarray:
    if tensor.dtype.kind != "f" and tensor.dtype != ml_dtypes.bfloat16:
        raise InputError(f"{source.path} has {tensor.dtype} where the model has floating-point parameters.")
    return np.asarray(tensor, np.float32)


def _fresh_tensors(config: ModelConfig, entries: list[Tensor]) -> dict[str, np.ndarray]:
    """Some tensors, none of them in the blocks, as a new model of this configuration has them."""
    if not entries:
        return {}
    batch = dense_batch(jnp.zeros((1, 1, 200)), np.ones(1, np.int32), mask=jnp.ones((1, 1), bool))
    if isinstance(config, MaskedModelConfig):
        init, codes = MaskedModel(config).init, (jnp.zeros((1, 1), jnp.int32),)
    else:
        init, codes = ClassifierModel(config).init, ()

    @jax.jit  # makes what is returned and leaves the rest of the model away
    def start() -> list[jax.Array]:
        variables = nn.unbox(init(jax.random.key(0), batch, *codes))
        return [functools.reduce(lambda node, name: node[name], entry.path, variables) for entry in entries]

    return {entry.name: entry.to_official(np.asarray(leaf)) for entry, leaf in zip(entries, start(), strict=True)}


def _report(found: Recognised, source: Source, fresh: Mapping[str, str]) -> ConversionReport:
    entries = official_tensors(found.config)
    taken = {entry.name: "/".join(entry.path) for entry in entries}
    lines = []
    for name, tensor in found.tensors.items():
        if name in found.made:
            continue
        shown, shape, dtype = source.prefix + found.names.get(name, name), tuple(tensor.shape), str(tensor.dtype)
        if name in taken:
            lines.append(TensorLine(shown, shape, dtype, taken[name]))
        else:
            reason = reason_unused(name, found.config)
            lines.append(TensorLine(shown, shape, dtype, None, reason or NOT_CALLED, reason is not None))
    by_path: dict[str, list[Tensor]] = {}
    for entry in entries:
        by_path.setdefault(taken[entry.name], []).append(entry)
    parameters = []
    for path, parts in by_path.items():
        shape = parts[0].shape if parts[0].layer is None else (len(parts), *parts[0].shape)
        started, made = (
            next((told[part.name] for part in parts if part.name in told), "") for told in (fresh, found.made)
        )
        parameters.append(ParameterLine(path, shape, len(parts), started, made))
    return ConversionReport(
        f"{source.path}: {source.known or found.what}",
        tuple(_facts(found.config)),
        tuple(lines),
        tuple(parameters),
        (*(f"assumed: {sentence}" for sentence in found.assumed), *found.cautions),
        (*found.notes, *_notes(found, source)),
    )


def _facts(config: ModelConfig) -> list[str]:
    facts = [_encoder_fact("encoder", config.encoder)]
    if isinstance(config, MaskedModelConfig):
        return [*facts, f"predicts {config.codes:,} codes"]
    if isinstance(config, ClassifierConfig):
        return [*facts, f"{config.outputs} output(s), pooling by {config.pooling.replace('_', ' ')}"]
    codebook = f"codebook of {config.quantizer.codes:,} codes of {config.quantizer.dimension}"
    return [*facts, _encoder_fact("decoder", config.decoder), codebook]


def _encoder_fact(name: str, config: EncoderConfig) -> str:
    options = {
        "q and v biases": config.qkv_bias,
        "q and k norms": config.qk_norm,
        "layer scale": config.layer_scale > 0,
    }
    with_or_without = ", ".join(f"{'with' if on else 'without'} {option}" for option, on in options.items())
    return f"{name}: {config.depth} blocks, width {config.width}, {config.heads} heads, {with_or_without}"


def _notes(found: Recognised, source: Source) -> tuple[str, ...]:
    notes = [f"{source.prefix!r} was taken off the names of all tensors"] if source.prefix else []
    used = {
        name: found.tensors[name] for name in (e.name for e in official_tensors(found.config)) if name in found.tensors
    }
    types = sorted({str(tensor.dtype) for tensor in used.values()} - {"float32"})
    if types:
        notes.append(f"parameters are float32 here, and some tensors are {', '.join(types)}")
    for name, value in source.beside.items():
        if name == "epoch" and isinstance(value, int | str):
            notes.append(f"epoch: {brief(value)}")
        elif name == "optimizer" and isinstance(found.config, MaskedModelConfig):
            notes.append("optimizer: left out here; pretraining goes on with it by --start-from")
        elif isinstance(value, dict) and any(isinstance(item, np.ndarray) for item in value.values()):
            notes.append(f"{brief(name)}: other weights, taken with --weights {brief(name)}")
        else:
            notes.append(f"{brief(name)}: left out, since it is no part of a model")
    return tuple(notes)
