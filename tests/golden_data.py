"""The golden arrays of the official implementation: one way to read them and to compare with them.

What every array is, and how its tolerance was found, is told in `golden/README.md`.
"""

import functools
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float
from safetensors.numpy import load_file

from labram_jax.config import (
    ClassifierConfig,
    EncoderConfig,
    MaskedModelConfig,
    QuantizerConfig,
    TokenizerConfig,
    replace,
)
from labram_jax.convert.official import official_tensors
from labram_jax.models import PatchBatch, dense_batch

FOLDER = Path(__file__).parent / "golden"
ELECTRODE_IDS = np.array([20, 1, 89, 40, 64, 42, 83])  # FZ FP1 T3 C3 PZ CZ O2: not in the vocabulary's order
ABSOLUTE = 5e-6
RELATIVE_LOSS = 1e-5
RELATIVE_GRADIENT = 1e-4

# These tests compile far longer than they compute: what `make test` tells the compiler, and why, is in the Makefile.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
# The same for processes of their own.
QUICK_FLAGS = " ".join(f"--{name}={str(value).lower()}" for name, value in QUICK.items())
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)


@functools.cache
def arrays(name: str) -> Mapping[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as stored:
        return dict(stored)


@functools.cache
def weights(name: str) -> Mapping[str, np.ndarray]:
    return load_file(FOLDER / f"{name}.safetensors")


@functools.cache
def facts(name: str) -> Mapping:
    return json.loads((FOLDER / f"{name}.json").read_text())


def tiny_encoder(**changes) -> EncoderConfig:
    """The encoder of the golden models: width 100, 2 blocks, 5 heads."""
    return EncoderConfig(**{"width": 100, "depth": 2, "heads": 5, "temporal_channels": 4} | changes)


def tiny_tokenizer(codes: int = 64) -> TokenizerConfig:
    encoder = tiny_encoder(qkv_bias=True, qk_norm=False, layer_scale=0.0)
    return TokenizerConfig(encoder, replace(encoder, depth=1), QuantizerConfig(codes, 16))


def tiny_masked_model(codes: int = 64, **changes) -> MaskedModelConfig:
    recipe = {"class_position": "first_electrode", "initialisation": "pretraining"}
    return MaskedModelConfig(tiny_encoder(**recipe | changes), codes)


def tiny_classifier(outputs: int = 1, pooling: str = "mean", **changes) -> ClassifierConfig:
    return ClassifierConfig(tiny_encoder(**changes), outputs, pooling)


def imported_encoder(case: str) -> dict[str, np.ndarray]:
    """Tensors of a fine-tuning model: the pretrained ones without their prefix, and the new ones of `case`."""
    prefix = "student."
    pretrained = {n.removeprefix(prefix): t for n, t in weights("labram").items() if n.startswith(prefix)}
    extra = f"{case}/extra/"
    return pretrained | {n.removeprefix(extra): t for n, t in arrays("finetune").items() if n.startswith(extra)}


def windows(eeg: Float[np.ndarray, "B C samples"], electrode_ids: np.ndarray = ELECTRODE_IDS, **extra) -> PatchBatch:
    """Windows [B, C, A * 200], already divided by 100, one to a row."""
    return dense_batch(eeg.reshape(len(eeg), -1, 200), electrode_ids, **extra)


def recipe_weights(config, salt: str) -> dict[str, np.ndarray]:
    """Regenerates the tensors of the full-size golden models, each from the checksum of its own name."""
    tensors = {}
    for entry in official_tensors(config):
        seed = zlib.crc32((salt + entry.name).encode()) & 0xFFFFFFFF
        z = np.random.RandomState(seed).standard_normal(entry.official_shape)
        tensors[entry.name] = _recipe(entry.name, z).astype(np.float32)
    return tensors


def _recipe(name: str, z: np.ndarray) -> np.ndarray:
    leaf = name.rsplit(".", 1)[-1]
    if name.startswith("quantize."):
        return z / np.linalg.norm(z, axis=-1, keepdims=True) if name.endswith("embedding.weight") else 0 * z
    if leaf in ("gamma_1", "gamma_2"):
        return 0.3 + 0.05 * z
    if leaf in ("cls_token", "mask_token", "pos_embed", "time_embed"):
        return 0.1 * z
    if z.ndim == 1:
        return 1 + 0.1 * z if leaf == "weight" else 0.05 * z
    return z / np.sqrt(np.prod(z.shape[1:])) if z.ndim == 4 else 0.8 * z / np.sqrt(z.shape[1])


def largest_difference(actual, expected) -> float:
    return float(np.abs(np.asarray(actual, np.float64) - np.asarray(expected, np.float64)).max())


def check(actual, file: str, key: str) -> None:
    """A forward value equals the golden one to 5e-6, or to 5 times the noise floor where that is more."""
    expected = arrays(file)[key]
    floor = facts("noise_floor").get(f"{file}/{key}", {"max_abs_diff": 0.0})["max_abs_diff"]
    difference = largest_difference(np.reshape(actual, expected.shape), expected)
    assert difference <= max(ABSOLUTE, 5 * floor), f"{file}/{key} differs by {difference:.2g}"


def check_loss(actual, file: str, key: str) -> None:
    np.testing.assert_allclose(actual, arrays(file)[key], rtol=RELATIVE_LOSS, err_msg=f"{file}/{key}")


def check_gradients(actual: Mapping[str, np.ndarray], file: str, prefix: str) -> None:
    """Gradients under official names equal the golden ones to 1e-4 of each tensor's largest, all but the degenerate.

    Of a large tensor the golden file holds every K-th element ("@strideK") and the norm of the whole ("@l2").
    """
    compared = 0
    for key, expected in arrays(file).items():
        name, _, part = key.removeprefix(prefix).partition("@")
        if not key.startswith(prefix) or part == "sum" or is_degenerate(name):
            continue
        gradient = np.asarray(actual[name])
        if part == "l2":
            np.testing.assert_allclose(np.linalg.norm(gradient), expected, rtol=RELATIVE_GRADIENT, err_msg=name)
            continue
        largest = np.abs(gradient).max()
        if part:
            gradient = gradient.reshape(-1)[:: int(part.removeprefix("stride"))]
        difference = largest_difference(gradient, expected)
        assert difference <= RELATIVE_GRADIENT * largest, f"{key}: {difference:.2g} of {largest:.2g}"
        compared += 1
    assert compared > 40, f"only {compared} golden gradients under {prefix}"


def is_degenerate(name: str) -> bool:
    """Gradients that are zero in exact arithmetic, so that only rounding noise could be compared.

    The key norm's bias shifts all scores of a query alike. At this width each group of the group norm holds one
    channel, so that it takes the convolution's bias away.
    """
    convolution_bias = "patch_embed.conv" in name and name.endswith(".bias")
    return name.endswith("k_norm.bias") or convolution_bias
