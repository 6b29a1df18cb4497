"""The official tensor names and layouts, tensor by tensor beside this project's parameters.

One table serves both directions: a tensor is permuted and reshaped into its parameter and back, bit by bit.
Blocks are scanned here, so that a block's tensor is one slice of a parameter with a leading depth axis.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from labram_jax.config import (
    ELECTRODE_ROWS,
    PATCH_SAMPLES,
    TIME_ROWS,
    ClassifierConfig,
    EncoderConfig,
    MaskedModelConfig,
    ModelConfig,
    TokenizerConfig,
)


@dataclass(frozen=True)
class Tensor:
    """One official tensor: its name and shape, and where and how it lies here.

    `path` leads through the variables ("params" or "codebook" first), `layer` picks the slice along the depth axis.
    parameter = tensor.transpose(order).reshape(shape)
    """

    name: str
    official_shape: tuple[int, ...]
    path: tuple[str, ...]
    shape: tuple[int, ...]
    order: tuple[int, ...]
    layer: int | None = None

    def to_parameter(self, tensor: np.ndarray) -> np.ndarray:
        return tensor.transpose(self.order).reshape(self.shape)

    def to_official(self, parameter: np.ndarray) -> np.ndarray:
        permuted = tuple(self.official_shape[axis] for axis in self.order)
        return parameter.reshape(permuted).transpose(np.argsort(self.order))


def _tensor(name, official_shape, path, shape=None, order=None) -> Tensor:
    official_shape = tuple(official_shape)
    order = tuple(range(len(official_shape))) if order is None else order
    return Tensor(name, official_shape, tuple(path.split("/")), tuple(shape or official_shape), order)


def _linear(name: str, inputs: int, outputs: int, path: str, bias: bool = True) -> Iterator[Tensor]:
    yield _tensor(f"{name}.weight", (outputs, inputs), f"{path}/kernel", (inputs, outputs), (1, 0))
    if bias:
        yield _tensor(f"{name}.bias", (outputs,), f"{path}/bias")


def _norm(name: str, width: int, path: str) -> Iterator[Tensor]:
    yield _tensor(f"{name}.weight", (width,), f"{path}/scale")
    yield _tensor(f"{name}.bias", (width,), f"{path}/bias")


def _block(name: str, config: EncoderConfig, path: str) -> Iterator[Tensor]:
    width, heads, inner = config.width, config.heads, config.width * config.mlp_ratio
    head = width // heads
    qkv = (width, 3, heads, head)
    yield _tensor(f"{name}.attn.qkv.weight", (3 * width, width), f"{path}/attention/qkv/kernel", qkv, (1, 0))
    if config.qkv_bias:
        for letter in "qv":
            bias = f"{path}/attention/{letter}_bias"
            yield _tensor(f"{name}.attn.{letter}_bias", (width,), bias, (heads, head))
    if config.qk_norm:
        for letter in "qk":
            yield from _norm(f"{name}.attn.{letter}_norm", head, f"{path}/attention/{letter}_norm")
    out = f"{path}/attention/out"
    yield _tensor(f"{name}.attn.proj.weight", (width, width), f"{out}/kernel", (heads, head, width), (1, 0))
    yield _tensor(f"{name}.attn.proj.bias", (width,), f"{out}/bias")
    yield from _linear(f"{name}.mlp.fc1", width, inner, f"{path}/mlp/up")
    yield from _linear(f"{name}.mlp.fc2", inner, width, f"{path}/mlp/down")
    for number in (1, 2):
        yield from _norm(f"{name}.norm{number}", width, f"{path}/norm_{number}")
        if config.layer_scale > 0:
            yield _tensor(f"{name}.gamma_{number}", (width,), f"{path}/scale_{number}")


def _encoder(prefix: str, config: EncoderConfig, path: str, code_dimension: int | None = None) -> Iterator[Tensor]:
    width, channels = config.width, config.temporal_channels
    for official, own, rows in (("pos", "electrode", ELECTRODE_ROWS), ("time", "time", TIME_ROWS)):
        table = (rows, width)
        yield _tensor(f"{prefix}{official}_embed", (1, *table), f"{path}/{own}_embedding", table)
    yield _tensor(f"{prefix}cls_token", (1, 1, width), f"{path}/class_token", (width,))
    if code_dimension is None:
        for number, (taps, inputs) in enumerate(((15, 1), (3, channels), (3, channels)), start=1):
            name, own = f"{prefix}patch_embed.conv{number}", f"{path}/temporal_convolution/convolution_{number}"
            kernel, tensor = (taps, inputs, channels), (channels, inputs, 1, taps)
            yield _tensor(f"{name}.weight", tensor, f"{own}/kernel", kernel, (3, 1, 0, 2))
            yield _tensor(f"{name}.bias", (channels,), f"{own}/bias")
            norm = f"{path}/temporal_convolution/norm_{number}"
            yield from _norm(f"{prefix}patch_embed.norm{number}", channels, norm)
    else:
        name, own = f"{prefix}patch_embed.proj", f"{path}/code_projection"
        kernel, tensor = (code_dimension, width), (width, code_dimension, 1, 1)
        yield _tensor(f"{name}.weight", tensor, f"{own}/kernel", kernel, (1, 0, 2, 3))
        yield _tensor(f"{name}.bias", (width,), f"{own}/bias")
    for layer in range(config.depth):
        for tensor in _block(f"{prefix}blocks.{layer}", config, f"{path}/blocks"):
            yield Tensor(**{**tensor.__dict__, "layer": layer})


def _tokenizer(config: TokenizerConfig) -> Iterator[Tensor]:
    width, dimension, codes = config.encoder.width, config.quantizer.dimension, config.quantizer.codes
    yield from _encoder("encoder.", config.encoder, "params/encoder")
    yield from _norm("encoder.fc_norm", width, "params/encoder_norm")
    heads = (
        ("encode_task_layer", "latent_head", width, dimension),
        ("decode_task_layer", "amplitude_head", config.decoder.width, PATCH_SAMPLES),
        ("decode_task_layer_angle", "phase_head", config.decoder.width, PATCH_SAMPLES),
    )
    for name, own, inner, outputs in heads:
        yield from _linear(f"{name}.0", inner, inner, f"params/{own}/hidden")
        yield from _linear(f"{name}.2", inner, outputs, f"params/{own}/out")
    yield from _encoder("decoder.", config.decoder, "params/decoder", code_dimension=dimension)
    yield from _norm("decoder.fc_norm", config.decoder.width, "params/decoder_norm")
    yield _tensor("quantize.embedding.weight", (codes, dimension), "codebook/quantizer/vectors")
    yield _tensor("quantize.cluster_size", (codes,), "codebook/quantizer/usage")


def _masked_model(config: MaskedModelConfig) -> Iterator[Tensor]:
    width = config.encoder.width
    yield from _encoder("student.", config.encoder, "params/encoder")
    yield _tensor("student.mask_token", (1, 1, width), "params/mask_token", (width,))
    yield from _norm("student.norm", width, "params/norm")
    yield from _linear("lm_head", width, config.codes, "params/code_head")


def _classifier(config: ClassifierConfig) -> Iterator[Tensor]:
    width = config.encoder.width
    yield from _encoder("", config.encoder, "params/encoder")
    yield from _norm("norm" if config.pooling == "class_token" else "fc_norm", width, "params/norm")
    yield from _linear("head", width, config.outputs, "params/head")


def official_tensors(config: ModelConfig) -> list[Tensor]:
    """Every official tensor that a model of this configuration takes its variables from."""
    if isinstance(config, TokenizerConfig):
        return list(_tokenizer(config))
    if isinstance(config, MaskedModelConfig):
        return list(_masked_model(config))
    return list(_classifier(config))


def from_official(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> dict:
    """Variables from official tensors; each one must be there in its official shape (KeyError, ValueError)."""
    stacks: dict[tuple[str, ...], list[np.ndarray]] = {}
    for entry in official_tensors(config):
        tensor = np.asarray(tensors[entry.name])
        if tensor.shape != entry.official_shape:
            raise ValueError(f"tensor {entry.name} has shape {tensor.shape}, the model wants {entry.official_shape}")
        stacks.setdefault((entry.path, entry.layer is not None), []).append(entry.to_parameter(tensor))
    variables: dict = {}
    for (path, scanned), parts in stacks.items():
        node = variables
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = np.stack(parts) if scanned else np.array(parts[0])
    return variables


def to_official(variables: Mapping, config: ModelConfig) -> dict[str, np.ndarray]:
    """Official tensors from variables, the inverse of `from_official`."""
    tensors = {}
    for entry in official_tensors(config):
        node = variables
        for name in entry.path:
            node = node[name]
        parameter = np.asarray(node) if entry.layer is None else np.asarray(node[entry.layer])
        tensors[entry.name] = np.ascontiguousarray(entry.to_official(parameter))
    return tensors
