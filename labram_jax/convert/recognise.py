"""What a set of tensors is: which model, of which size, with which options, told from names and shapes alone."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from labram_jax.config import (
    TIME_STEPS,
    ClassifierConfig,
    EncoderConfig,
    MaskedModelConfig,
    ModelConfig,
    QuantizerConfig,
    TokenizerConfig,
)
from labram_jax.errors import InputError

Tensors = Mapping[str, np.ndarray]

# What official files hold and no forward pass of the official code reads, by kind: pattern and reason.
UNUSED: Mapping[type, Mapping[str, str]] = MappingProxyType(
    {
        TokenizerConfig: {
            r"quantize\.embedding\.(cluster_size|embed_avg)": "only the codebook's k-means start writes it",
            r"quantize\.embedding\.initted": "says that the codebook was started",
        },
        MaskedModelConfig: {
            r"student\.lm_head\.(weight|bias)": "the loss uses the outer lm_head",
            r"projection_head\.0\.(weight|bias)": "nothing calls it",
            r"logit_scale": "a scalar of an older release that the published model no longer has",
            r"norm\.(weight|bias)": "mean pooling has fc_norm in its place",
        },
        ClassifierConfig: {
            r".*relative_position_index": "the published models have no relative positions",
        },
    }
)
# Of an encoder that was pretrained, after its prefix is taken away: fine-tuning has no use for these.
PRETRAINING_ONLY = r"(mask_token|lm_head\.(weight|bias))"
# Start values of the layer scale and numbers of heads of the published sizes: what no tensor tells.
PUBLISHED_SCALE: Mapping[int, float] = MappingProxyType({200: 0.1, 400: 1e-5, 800: 1e-6})
PUBLISHED_HEADS: Mapping[int, int] = MappingProxyType({200: 10, 400: 16, 800: 16})
HEAD_WIDTH = 20
# What the reference does in pretraining alone.
PRETRAINING: Mapping[str, str] = MappingProxyType(
    {"class_position": "first_electrode", "initialisation": "pretraining"}
)


@dataclass
class Recognised:
    """A model in official names: its configuration, and what had to be assumed because no tensor tells it.

    `names`: what the source calls a tensor, where that is not its official name. `fresh`: names whose tensors a source
    of this kind lacks, and which start as a new model would. `made`: those that follow from what the source says of
    itself, and how. `cautions`: what else whoever uses the model must know; `notes`: what they may.
    """

    config: ModelConfig
    tensors: dict[str, np.ndarray]
    what: str
    names: dict[str, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    fresh: tuple[str, ...] = ()
    made: dict[str, str] = field(default_factory=dict)
    cautions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def recognise(tensors: Tensors, where: str, heads: int | None = None) -> Recognised:
    """Tells a tokenizer, a pretraining checkpoint, and a classifier or encoder of official names apart.

    `heads` is given where the source says it elsewhere. Raises InputError for anything else, and for shapes that belong
    to no model.
    """
    assumed: list[str] = []
    with as_no_model(where):
        if "quantize.embedding.weight" in tensors and "encoder.cls_token" in tensors:
            found = _tokenizer(tensors, where, assumed)
        elif "student.cls_token" in tensors:
            found = _masked_model(tensors, assumed, heads)
        elif "pos_embed" in tensors and "blocks.0.attn.qkv.weight" in tensors:
            found = _classifier(tensors, assumed, heads)
        else:
            found = None
    if found is None:
        shown = ", ".join(sorted(map(str, tensors))[:3]) or "none at all"
        raise InputError(
            f"{where} holds no LaBraM model: its {len(tensors)} tensors ({shown}, ...) have the names of no tokenizer, "
            "pretraining checkpoint, classifier or braindecode model."
        )
    found.assumed = list(dict.fromkeys(assumed))
    return found


@contextlib.contextmanager
def as_no_model(where: str) -> Iterator[None]:
    """Turns what tensors raise that are missing, or of shapes that no model has, into an InputError."""
    try:
        yield
    except KeyError as error:
        raise InputError(f"{where} is not whole: it lacks {error.args[0]}, so there is no model to read.") from error
    except (IndexError, TypeError, ValueError) as error:
        raise InputError(f"{where} holds tensors of shapes that no LaBraM model has ({error}).") from error


def _tokenizer(tensors: Tensors, where: str, assumed: list[str]) -> Recognised:
    started = tensors.get("quantize.embedding.initted")
    if started is not None and not np.all(np.asarray(started, np.float64)):
        raise InputError(f"{where} is a tokenizer whose codebook was never started: train it first.")
    codes, dimension = tensors["quantize.embedding.weight"].shape
    config = TokenizerConfig(
        encoder_config(tensors, "encoder.", assumed),
        encoder_config(tensors, "decoder.", assumed),
        QuantizerConfig(codes, dimension),
    )
    return Recognised(config, dict(tensors), "an official tokenizer")


def _masked_model(tensors: Tensors, assumed: list[str], heads: int | None) -> Recognised:
    encoder = encoder_config(tensors, "student.", assumed, heads, **PRETRAINING)
    if "lm_head.weight" in tensors:
        config = MaskedModelConfig(encoder, len(tensors["lm_head.weight"]))
        return Recognised(config, dict(tensors), "an official pretraining checkpoint")
    # Others pretrain with heads of their own, which are told as left over.
    fresh = ("lm_head.weight", "lm_head.bias")
    return Recognised(MaskedModelConfig(encoder), dict(tensors), "an encoder with other heads", fresh=fresh)


def _classifier(tensors: Tensors, assumed: list[str], heads: int | None) -> Recognised:
    encoder = encoder_config(tensors, "", assumed, heads)
    pooling = "mean" if "fc_norm.weight" in tensors else "class_token"
    if "head.weight" in tensors:
        config = ClassifierConfig(encoder, len(tensors["head.weight"]), pooling)
        return Recognised(config, dict(tensors), "an official fine-tuned classifier")
    # An encoder without a head: the model with code scores is the one that offers features. Its norm is the one norm
    # that the source has, and what only pretraining needs starts afresh.
    own = {"fc_norm": "student.norm", "norm": "norm"} if pooling == "mean" else {}
    names = {}
    for name in tensors:
        part, dot, rest = name.partition(".")
        names[own.get(part, f"student.{part}") + dot + rest] = name
    fresh = ("student.mask_token", "lm_head.weight", "lm_head.bias")
    named = {official: tensors[name] for official, name in names.items()}
    if "mask_token" in tensors:  # the student of pretraining, saved alone
        encoder = dataclasses.replace(encoder, **PRETRAINING)
    return Recognised(MaskedModelConfig(encoder), named, "an encoder without a head", names, fresh=fresh)


def encoder_config(
    tensors: Tensors, prefix: str, assumed: list[str], heads: int | None = None, **options
) -> EncoderConfig:
    """The configuration of the encoder whose tensors begin with `prefix`; `assumed` grows by what was not told."""
    width = tensors[f"{prefix}cls_token"].shape[-1]
    numbered = re.compile(re.escape(prefix) + r"blocks\.(\d{1,4})\.")
    numbers = {int(match[1]) for name in tensors if (match := numbered.match(name))}
    block = f"{prefix}blocks.0"
    depth = len(numbers)
    if not numbers or max(numbers) != depth - 1:
        raise KeyError(f"{prefix}blocks.{min(set(range(depth + 1)) - numbers)}")
    qk_norm = f"{block}.attn.q_norm.weight" in tensors
    if heads is None and qk_norm:
        heads = width // max(1, len(tensors[f"{block}.attn.q_norm.weight"]))
    elif heads is None:
        heads = PUBLISHED_HEADS.get(width, max(1, width // HEAD_WIDTH))
        assumed.append(f"{heads} attention heads at width {width}: without q and k norms no tensor tells their number")
    scaled = f"{block}.gamma_1" in tensors
    return EncoderConfig(
        width=width,
        depth=depth,
        heads=heads,
        temporal_channels=width // TIME_STEPS,
        mlp_ratio=max(1, len(tensors[f"{block}.mlp.fc1.weight"]) // max(1, width)),
        qkv_bias=f"{block}.attn.q_bias" in tensors,
        qk_norm=qk_norm,
        layer_scale=PUBLISHED_SCALE.get(width, 0.1) if scaled else 0.0,
        **options,
    )


def reason_unused(name: str, config: ModelConfig) -> str | None:
    """Why an official file holds a tensor that no model needs; None where there is no known reason."""
    if name == "n_averaged":
        return "counts the models of an average"
    for pattern, reason in UNUSED[type(config)].items():
        if re.fullmatch(pattern, name):
            return reason
    if isinstance(config, ClassifierConfig) and re.fullmatch(PRETRAINING_ONLY, name):
        return "for pretraining only"
    if isinstance(config, ClassifierConfig) and config.pooling == "mean" and name in ("norm.weight", "norm.bias"):
        return "mean pooling has fc_norm in its place"
    return None
