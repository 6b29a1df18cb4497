"""What a model is: its configuration travels with its weights."""

from dataclasses import dataclass
from typing import Literal

from labram_jax.config.checking import require

PATCH_SAMPLES = 200
FREQUENCY_BINS = PATCH_SAMPLES // 2  # of its spectrum, one a Hz: all but that of its mean
MICROVOLTS_PER_UNIT = 100  # the models were designed for signals in units of 100 microvolts
SAMPLE_RATE = 200
TIME_STEPS = 25  # steps per patch that the temporal convolution leaves: 200 samples at stride 8
ELECTRODE_ROWS = 129  # row 0 is the class token's
TIME_ROWS = 16
CONVOLUTIONS, CONVOLUTION_GROUPS = 3, 4


@dataclass(frozen=True)
class EncoderConfig:
    """One transformer over a patch stream; the defaults are the base encoder as pretrained.

    `class_position`: the row of the electrode embedding that the class token gets. The reference pretrains with
    the row of the window's first electrode ("first_electrode", its quirk) and fine-tunes with row 0 ("class_row").
    `initialisation`: "tokenizer" (also fine-tuning) or "pretraining", the two ways of the reference.
    """

    width: int = 200
    """Features of a patch."""
    depth: int = 12
    """Number of blocks."""
    heads: int = 10
    """Heads of attention in each block, a divisor of the width."""
    temporal_channels: int = 8
    """Filters in each layer of the temporal convolution; the width is 25 times as much."""
    mlp_ratio: int = 4
    """Width of a block's inner layer over that of the block."""
    qkv_bias: bool = False
    """Biases of queries and values."""
    qk_norm: bool = True
    """Layer norms of queries and keys."""
    layer_scale: float = 0.1
    """Start value of the per-feature scale of each branch; 0 leaves the scales out."""
    drop_path: float = 0.0
    """Share of branches left out in training, in the last block; it rises from 0 in the first."""
    class_position: Literal["class_row", "first_electrode"] = "class_row"
    """Row of the electrode embedding for the class token: one of its own, or that of the window's first electrode."""
    initialisation: Literal["tokenizer", "pretraining"] = "tokenizer"
    """How fresh parameters are drawn: as for the tokenizer and for fine-tuning, or as for pretraining."""
    amplitude: bool = False
    """Add a linear map of each patch's log amplitude, which the group normalisation takes away, to its embedding. It
    starts at zero, so that weights trained without it give what they gave."""

    @property
    def filters(self) -> int:
        """How many filters the temporal convolution has, in all three layers."""
        return CONVOLUTIONS * self.temporal_channels

    def __post_init__(self):
        require(
            self.width == TIME_STEPS * self.temporal_channels,
            f"encoder width {self.width} must be {TIME_STEPS} x temporal_channels {self.temporal_channels} = "
            f"{TIME_STEPS * self.temporal_channels}; change one of the two.",
        )
        require(
            self.temporal_channels % CONVOLUTION_GROUPS == 0,
            f"temporal_channels {self.temporal_channels} must be a multiple of {CONVOLUTION_GROUPS} "
            "(the groups of the group normalisation).",
        )
        require(
            self.heads > 0 and self.width % self.heads == 0,
            f"encoder width {self.width} cannot be divided into {self.heads} heads; choose a divisor of the width.",
        )
        require(self.depth >= 1, f"encoder depth {self.depth} must be at least 1.")
        require(self.mlp_ratio >= 1, f"mlp_ratio {self.mlp_ratio} must be at least 1.")
        require(0 <= self.drop_path < 1, f"drop_path {self.drop_path} must lie in [0, 1).")
        require(self.layer_scale >= 0, f"layer_scale {self.layer_scale} must not be negative (0 leaves it out).")


def base_encoder(**changes) -> EncoderConfig:
    """The base size: 5.8 million parameters."""
    return EncoderConfig(**changes)


def large_encoder(**changes) -> EncoderConfig:
    """The large size: 46 million parameters."""
    return EncoderConfig(
        **{"width": 400, "depth": 24, "heads": 16, "temporal_channels": 16, "layer_scale": 1e-5} | changes
    )


def huge_encoder(**changes) -> EncoderConfig:
    """The huge size: 369 million parameters."""
    return EncoderConfig(
        **{"width": 800, "depth": 48, "heads": 16, "temporal_channels": 32, "layer_scale": 1e-6} | changes
    )


SIZES = {"base": base_encoder, "large": large_encoder, "huge": huge_encoder}


def size_of(encoder: EncoderConfig) -> str | None:
    """The name of the published size that an encoder has, if it has one."""
    sizes = {name: size() for name, size in SIZES.items()}
    own = (encoder.width, encoder.depth)
    return next((name for name, size in sizes.items() if (size.width, size.depth) == own), None)


@dataclass(frozen=True)
class QuantizerConfig:
    """The codebook: K codes of dimension d on the unit sphere, moved by an exponential moving average."""

    codes: int = 8192
    """How many codes there are."""
    dimension: int = 64
    """Of each code."""
    decay: float = 0.99
    """Of the moving averages that move the codes, per step."""

    def __post_init__(self):
        require(self.codes >= 2, f"the codebook needs at least 2 codes, not {self.codes}.")
        require(self.dimension >= 2, f"codes need a dimension of at least 2, not {self.dimension}.")
        require(0 <= self.decay < 1, f"the codebook's decay {self.decay} must lie in [0, 1).")


@dataclass(frozen=True)
class TokenizerConfig:
    """VQ-NSP: encoder, codebook, and a decoder that predicts the Fourier amplitude and phase of every patch.

    The decoder shares the encoder's block options; its own width, depth and heads count, its temporal
    convolution is replaced by a linear map from the code dimension.
    """

    encoder: EncoderConfig = EncoderConfig(depth=12, qkv_bias=True, qk_norm=False, layer_scale=0.0)
    decoder: EncoderConfig = EncoderConfig(depth=3, qkv_bias=True, qk_norm=False, layer_scale=0.0)
    quantizer: QuantizerConfig = QuantizerConfig()
    log_amplitude: bool = False
    """Predict the log amplitude of each frequency as well, each standardised by itself over the window: amplitudes
    standardised over all frequencies at once, as the reference has them, are mostly those of the slowest waves."""

    def __post_init__(self):
        require(not self.decoder.amplitude, "decoder.amplitude cannot be: a decoder sees codes and no patches.")


@dataclass(frozen=True)
class MaskedModelConfig:
    """The pretraining model: an encoder with a mask token and a projection onto the K codes."""

    encoder: EncoderConfig = EncoderConfig(class_position="first_electrode", initialisation="pretraining")
    codes: int = 8192
    """How many codes there are to be predicted; the tokenizer decides."""


@dataclass(frozen=True)
class ClassifierConfig:
    """The fine-tuned model: an encoder, a readout, and a linear head of 1..n outputs.

    One output is a binary classifier (sigmoid) unless `task` is "regression". `pooling` makes what the head sees of a
    window: the mean over patches (the reference's); the class token; the mean over time of each of its electrodes, with
    a linear map for each row of the electrode vocabulary, whose values are summed, so that an electrode that a window
    lacks adds nothing; or, by attention, a mean weighted by a learned query, which starts as the plain mean.
    """

    encoder: EncoderConfig = EncoderConfig()
    outputs: int = 1
    """Outputs of the head: 1 for two classes, else one a class or quantity."""
    pooling: Literal["mean", "class_token", "electrodes", "attention"] = "mean"
    """What the head sees of a window: the mean over patches, the class token, a mean an electrode, or a learnt mean."""
    task: Literal["classification", "regression"] = "classification"
    """Whether labels are classes or quantities."""
    head_scale: float = 0.001
    """Factor on the fresh head's weights."""
    classes: tuple[str, ...] = ()
    """Class names in label order, for tables and figures."""
    amplitude: bool = False
    """Show the head the log amplitude of each electrode too, by the same rule for those that a window lacks."""
    filters: bool = False
    """Show it that of what each filter of the temporal convolution gives of each electrode, before its norms."""
    target_mean: tuple[float, ...] = ()
    """Of each output of a regressor, see target_scale."""
    target_scale: tuple[float, ...] = ()
    """Of each output of a regressor: outputs are target_mean + target_scale times what the head gives."""

    def __post_init__(self):
        require(self.outputs >= 1, f"a classifier needs at least 1 output, not {self.outputs}.")
        require(
            {len(self.target_mean), len(self.target_scale)} in ({0}, {self.outputs}),
            f"target_mean and target_scale must have a number for each of the {self.outputs} outputs, or none.",
        )
        require(all(s > 0 for s in self.target_scale), f"target_scale {self.target_scale} must be positive.")


ModelConfig = TokenizerConfig | MaskedModelConfig | ClassifierConfig
