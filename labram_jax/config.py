"""What can be chosen: frozen dataclasses for the models and the three stages, validated as they are built.

A model's configuration travels with its weights, so that no flag can disagree with a checkpoint. Defaults are
the published base model; quirks of the reference that change numbers are the defaults too, each under a name.
"""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from labram_jax.errors import InputError

PATCH_SAMPLES = 200
MICROVOLTS_PER_UNIT = 100  # the models were designed for signals in units of 100 microvolts
SAMPLE_RATE = 200
TIME_STEPS = 25  # steps per patch that the temporal convolution leaves: 200 samples at stride 8
ELECTRODE_ROWS = 129  # row 0 is the class token's
TIME_ROWS = 16
CONVOLUTION_GROUPS = 4
PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise InputError(sentence)


def _check_penalties(name: str, penalties: tuple[float, ...]) -> None:
    sentence = f"{name} {penalties} must be one positive number or more."
    _require(bool(penalties) and all(penalty > 0 for penalty in penalties), sentence)


@dataclass(frozen=True)
class EncoderConfig:
    """One transformer over a patch stream; the defaults are the base encoder as pretrained.

    `class_position`: the row of the electrode embedding that the class token gets. The reference pretrains with
    the row of the window's first electrode ("first_electrode", its quirk) and fine-tunes with row 0 ("class_row").
    `initialisation`: "tokenizer" (also fine-tuning) or "pretraining", the two ways of the reference.
    """

    width: int = 200
    depth: int = 12
    heads: int = 10
    temporal_channels: int = 8
    mlp_ratio: int = 4
    qkv_bias: bool = False
    qk_norm: bool = True
    layer_scale: float = 0.1
    """Start value of the per-feature scale of each branch; 0 leaves the scales out."""
    drop_path: float = 0.0
    class_position: Literal["class_row", "first_electrode"] = "class_row"
    initialisation: Literal["tokenizer", "pretraining"] = "tokenizer"
    amplitude: bool = False
    """Add a linear map of each patch's log amplitude, which the group normalisation takes away, to its embedding. It
    starts at zero, so that weights trained without it give what they gave."""

    def __post_init__(self):
        _require(
            self.width == TIME_STEPS * self.temporal_channels,
            f"encoder width {self.width} must be {TIME_STEPS} x temporal_channels {self.temporal_channels} = "
            f"{TIME_STEPS * self.temporal_channels}; change one of the two.",
        )
        _require(
            self.temporal_channels % CONVOLUTION_GROUPS == 0,
            f"temporal_channels {self.temporal_channels} must be a multiple of {CONVOLUTION_GROUPS} "
            "(the groups of the group normalisation).",
        )
        _require(
            self.heads > 0 and self.width % self.heads == 0,
            f"encoder width {self.width} cannot be divided into {self.heads} heads; choose a divisor of the width.",
        )
        _require(self.depth >= 1, f"encoder depth {self.depth} must be at least 1.")
        _require(self.mlp_ratio >= 1, f"mlp_ratio {self.mlp_ratio} must be at least 1.")
        _require(0 <= self.drop_path < 1, f"drop_path {self.drop_path} must lie in [0, 1).")
        _require(self.layer_scale >= 0, f"layer_scale {self.layer_scale} must not be negative (0 leaves it out).")


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
    dimension: int = 64
    decay: float = 0.99

    def __post_init__(self):
        _require(self.codes >= 2, f"the codebook needs at least 2 codes, not {self.codes}.")
        _require(self.dimension >= 2, f"codes need a dimension of at least 2, not {self.dimension}.")
        _require(0 <= self.decay < 1, f"the codebook's decay {self.decay} must lie in [0, 1).")


@dataclass(frozen=True)
class TokenizerConfig:
    """VQ-NSP: encoder, codebook, and a decoder that predicts the Fourier amplitude and phase of every patch.

    The decoder shares the encoder's block options; its own width, depth and heads count, its temporal
    convolution is replaced by a linear map from the code dimension.
    """

    encoder: EncoderConfig = EncoderConfig(depth=12, qkv_bias=True, qk_norm=False, layer_scale=0.0)
    decoder: EncoderConfig = EncoderConfig(depth=3, qkv_bias=True, qk_norm=False, layer_scale=0.0)
    quantizer: QuantizerConfig = QuantizerConfig()

    def __post_init__(self):
        _require(not self.decoder.amplitude, "decoder.amplitude cannot be: a decoder sees codes and no patches.")


@dataclass(frozen=True)
class MaskedModelConfig:
    """The pretraining model: an encoder with a mask token and a projection onto the K codes."""

    encoder: EncoderConfig = EncoderConfig(class_position="first_electrode", initialisation="pretraining")
    codes: int = 8192


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
    pooling: Literal["mean", "class_token", "electrodes", "attention"] = "mean"
    task: Literal["classification", "regression"] = "classification"
    head_scale: float = 0.001
    """Factor on the fresh head's weights."""
    classes: tuple[str, ...] = ()
    """Class names in label order, for tables and figures."""
    amplitude: bool = False
    """Show the head the log amplitude of each electrode too, by the same rule for those that a window lacks."""
    target_mean: tuple[float, ...] = ()
    target_scale: tuple[float, ...] = ()
    """Of each output of a regressor: outputs are target_mean + target_scale times what the head gives."""

    def __post_init__(self):
        _require(self.outputs >= 1, f"a classifier needs at least 1 output, not {self.outputs}.")
        _require(
            {len(self.target_mean), len(self.target_scale)} in ({0}, {self.outputs}),
            f"target_mean and target_scale must have a number for each of the {self.outputs} outputs, or none.",
        )
        _require(all(s > 0 for s in self.target_scale), f"target_scale {self.target_scale} must be positive.")


ModelConfig = TokenizerConfig | MaskedModelConfig | ClassifierConfig


@dataclass(frozen=True)
class ComputeConfig:
    """How a model is computed, which never changes what it computes beyond rounding.

    `dtype` is that of matrix products; parameters, norms, softmax, codebook and losses stay float32 (float64 only
    to validate numerics, with JAX_ENABLE_X64=1).
    """

    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    remat: Literal["none", "block", "products"] = "none"
    """Recompute in the backward pass: nothing, whole blocks, or all but the matrix products."""
    attention: Literal["auto", "xla", "splash", "cudnn", "triton"] = "auto"
    """Kernel: plain products (xla), splash for TPUs, cudnn and triton for GPUs, or the best that applies (auto).
    Where one does not apply, xla takes its place, and the run says why."""
    unroll: int = 1
    """Blocks per iteration of the scan over depth."""
    code_chunk: int = 256
    """Codes whose distances to all patches (or logits of all patches) exist at one time."""

    def __post_init__(self):
        for name in ("unroll", "code_chunk"):
            _require(getattr(self, name) >= 1, f"compute.{name} must be at least 1, not {getattr(self, name)}.")


@dataclass(frozen=True)
class DataConfig:
    """Which corpora, in which proportion, in rows of which shape."""

    corpora: tuple[str, ...] = ()
    """Directories made by `labram-jax prepare`, or their addresses in a bucket (gs://, s3://, ...)."""
    weights: tuple[float, ...] = ()
    """Share of each corpus in every batch; empty is in proportion to its windows."""
    train_split: str = "train"
    validation_split: str = "validation"
    """Empty: no validation."""
    test_split: str = "test"
    validation_subjects: tuple[str, ...] = ()
    test_subjects: tuple[str, ...] = ()
    """Subjects, as the corpora name them, who validate and test whatever the corpora say; all others train then."""
    time_folds: int = 0
    """Cut each recording into so many stretches of equal length, whatever the corpora say: one tests, the next one
    validates, all others train. Scores are then within subjects. 0 leaves the corpora their splits."""
    test_fold: int = 0
    """Number of the stretch that tests, from 0."""
    window_seconds: int | None = None
    """Length of a window in whole seconds, 1 to 16; by default that of a corpus' protocol, or for each montage that
    which makes about 256 patches."""
    stride_seconds: float | None = None
    """From the start of one window to the next; by default a window's length, so that windows do not overlap."""
    batch_rows: int = 64
    """Rows of a global batch, over all devices."""
    patch_slots: int = 256
    segments: int = 1
    """Most windows in one row."""
    threads: int = 4
    prefetch: int = 4
    workers: int = 0
    """Processes that prepare training batches instead of the threads, where these do not keep up."""
    damaged_share: float = 0.0
    """Share of the windows that may be damaged on disk: they are named and left out. By default the first one stops the
    run."""

    def __post_init__(self):
        for name in ("batch_rows", "patch_slots", "segments", "threads", "prefetch"):
            _require(getattr(self, name) >= 1, f"data.{name} must be at least 1, not {getattr(self, name)}.")
        _require(
            self.window_seconds is None or 1 <= self.window_seconds <= TIME_ROWS,
            f"data.window_seconds must be a whole number from 1 to {TIME_ROWS}, not {self.window_seconds}.",
        )
        _require(
            self.stride_seconds is None or self.stride_seconds >= 1 / SAMPLE_RATE,
            f"data.stride_seconds must be at least a sample ({1 / SAMPLE_RATE}), not {self.stride_seconds}.",
        )
        _require(self.workers >= 0, f"data.workers must be at least 0, not {self.workers}.")
        self._check_splits()
        _require(
            0 <= self.damaged_share < 1,
            f"data.damaged_share must be a share from 0 to below 1, not {self.damaged_share}.",
        )
        _require(
            not self.weights or len(self.weights) == len(self.corpora),
            f"data.weights has {len(self.weights)} entries for {len(self.corpora)} corpora; give one each or none.",
        )
        _require(all(w > 0 for w in self.weights), f"data.weights {self.weights} must all be positive.")

    @property
    def resplits(self) -> bool:
        """Whether the splits are those of this configuration and not those of the corpora."""
        return bool(self.validation_subjects or self.test_subjects or self.time_folds)

    def _check_splits(self) -> None:
        both = sorted({*self.validation_subjects} & {*self.test_subjects})
        _require(not both, f"data.validation_subjects and data.test_subjects both name {', '.join(both)}: choose one.")
        _require(
            self.time_folds == 0 or self.time_folds >= 3,
            f"data.time_folds must be 0 or at least 3 (train, validation, test), not {self.time_folds}.",
        )
        _require(
            0 <= self.test_fold < max(self.time_folds, 1),
            f"data.test_fold {self.test_fold} must be one of the {self.time_folds} of data.time_folds, from 0.",
        )
        _require(
            not (self.time_folds and (self.validation_subjects or self.test_subjects)),
            "data.time_folds and lists of subjects cannot both say what the splits are: give one of the two.",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with the reference's groups, warm-up and cosine schedule."""

    learning_rate: float = 5e-4
    final_learning_rate: float = 1e-5
    warmup_epochs: float = 5
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float | None = 3.0
    layer_decay: float = 1.0
    """Factor on the learning rate from each block to the one below it; 1 is none."""
    time_embedding_layer: Literal["top", "bottom"] = "top"
    """Layer-decay group of the time embedding: the reference leaves it at the top by accident."""
    accumulate: int = 1
    """Microbatches whose gradients are taken one after another: less memory, the same update."""
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which gradients are summed over the axis `data` of the mesh; half the bytes in bfloat16."""

    def __post_init__(self):
        _require(self.learning_rate > 0, f"optimizer.learning_rate {self.learning_rate} must be positive.")
        _require(self.epsilon > 0, f"optimizer.epsilon {self.epsilon} must be positive.")
        for name in ("final_learning_rate", "warmup_epochs", "weight_decay"):
            _require(getattr(self, name) >= 0, f"optimizer.{name} {getattr(self, name)} must not be negative.")
        _require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"optimizer.betas {self.betas} must be two numbers in [0, 1).",
        )
        _require(
            self.clip_norm is None or self.clip_norm > 0,
            f"optimizer.clip_norm {self.clip_norm} must be positive.",
        )
        _require(0 < self.layer_decay <= 1, f"optimizer.layer_decay {self.layer_decay} must lie in (0, 1].")
        _require(self.accumulate >= 1, f"optimizer.accumulate {self.accumulate} must be at least 1.")


@dataclass(frozen=True)
class LoopConfig:
    """How long, how often, and from which seed.

    Evaluations and checkpoints come every so many epochs, steps or minutes, whichever is due, and at the end; None is
    never. Minutes are looked at where a logged interval ends, so that what is logged does not depend on the clock.
    """

    epochs: float = 50
    """Passes over the training windows."""
    log_every: int = 20
    """Steps of one logged interval."""
    evaluate_every_epochs: float | None = 1.0
    evaluate_every_steps: int | None = None
    evaluate_every_minutes: float | None = None
    save_every_epochs: float | None = 1.0
    save_every_steps: int | None = None
    save_every_minutes: float | None = None
    keep: int = 3
    """Checkpoints kept beside the best one."""
    steps_per_dispatch: int = 1
    """Steps that run as one program where nothing comes between them: more where a step takes less than about 5 ms."""
    stop_seconds: float = 120.0
    """How long a request to stop may take until a checkpoint is written; after that the process ends without it."""
    watchdog_minutes: float | None = 60.0
    """After so long without a step or a batch of an evaluation the process ends with the stacks of its threads; None is
    never. Compiling, and waiting for data or storage, count."""
    seed: int = 0

    def __post_init__(self):
        _require(self.epochs > 0, f"loop.epochs {self.epochs} must be positive.")
        for name in (f"{act}_every_{unit}" for act in ("evaluate", "save") for unit in ("epochs", "steps", "minutes")):
            value = getattr(self, name)
            _require(value is None or value > 0, f"loop.{name} {value} must be positive (None is never).")
        _require(self.log_every >= 1 and self.keep >= 1, "loop.log_every and loop.keep must be at least 1.")
        _require(
            1 <= self.steps_per_dispatch <= self.log_every,
            f"loop.steps_per_dispatch {self.steps_per_dispatch} must lie between 1 and loop.log_every "
            f"({self.log_every}), since a logged interval ends with a program.",
        )
        _require(self.stop_seconds > 0, f"loop.stop_seconds {self.stop_seconds} must be positive.")
        _require(
            self.watchdog_minutes is None or self.watchdog_minutes > 0,
            f"loop.watchdog_minutes {self.watchdog_minutes} must be positive (None is never).",
        )
        _require(self.seed >= 0, f"loop.seed {self.seed} must not be negative.")


@dataclass(frozen=True)
class GuardConfig:
    """What becomes of steps whose numbers have gone wrong: they change nothing, and too many of them end the run."""

    spike_deviations: float | None = None
    """A loss or a norm of the gradients that lies more standard deviations above the mean of the last steps is wrong
    as well; by default only what is not finite is."""
    spike_window: int = 128
    """How many steps that mean is over."""
    skips_in_a_row: int = 8
    """After so many wrong steps in a row training goes back to its last checkpoint, and passes over what it had been
    trained on since."""
    go_back: int = 2
    """How often it does so before it ends."""

    def __post_init__(self):
        _require(
            self.spike_deviations is None or self.spike_deviations > 0,
            f"guard.spike_deviations {self.spike_deviations} must be positive (None lets all that is finite through).",
        )
        _require(self.spike_window >= 2, f"guard.spike_window must be at least 2, not {self.spike_window}.")
        _require(self.skips_in_a_row >= 1, f"guard.skips_in_a_row must be at least 1, not {self.skips_in_a_row}.")
        _require(self.go_back >= 0, f"guard.go_back {self.go_back} must not be negative.")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; one of them may be -1: whatever is left."""

    data: int = -1
    fsdp: int = 1
    model: int = 1


@dataclass(frozen=True)
class CodebookTraining:
    """How the codebook is started and kept alive; the defaults are as published.

    The commitment loss can shrink the latents onto one code before the decoder has use for them. The remedies:
    train encoder and decoder without the quantizer first and start the codebook after that (`bypass_epochs`), let
    the commitment weight rise linearly from 0 from there on (`commitment_warmup_epochs`), and move codes that
    nobody uses onto current latents (`restart_below`).
    """

    commitment_weight: float = 1.0
    kmeans_start: bool = True
    kmeans_iterations: int = 10
    bypass_epochs: float = 0.0
    bypass_noise: float = 0.0
    """Standard deviation of the noise on the unit latents while the quantizer is bypassed, per element."""
    commitment_warmup_epochs: float = 0.0
    restart_below: float = 0.0
    """A code whose running count per step falls below this moves onto a latent of the batch; 0 is never. Even use of
    all codes has a count of patches per batch over codes; a hundredth of it is a good threshold."""
    warn_below: float = 0.05
    """Perplexity of a batch's codes, as a share of what was possible, below which a warning says what to do."""

    def __post_init__(self):
        for name in ("commitment_weight", "bypass_epochs", "bypass_noise", "commitment_warmup_epochs", "restart_below"):
            _require(getattr(self, name) >= 0, f"codebook.{name} {getattr(self, name)} must not be negative.")
        _require(self.kmeans_iterations >= 1, "codebook.kmeans_iterations must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has; `run` is the directory for checkpoints, logs and figures."""

    run: str
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loop: LoopConfig = LoopConfig()
    guard: GuardConfig = GuardConfig()
    mesh: MeshConfig = MeshConfig()
    compute: ComputeConfig = ComputeConfig()


@dataclass(frozen=True, kw_only=True)
class TokenizerStageConfig(StageConfig):
    """Train the tokenizer: reconstruct the spectra of patches through the codebook."""

    model: TokenizerConfig = TokenizerConfig()
    codebook: CodebookTraining = CodebookTraining()


@dataclass(frozen=True)
class ProbeConfig:
    """Labelled corpora that are probed while the encoder is pretrained: a linear map, fitted in closed form or by
    scikit-learn, reads their labels off its features, and is scored on their validation split.

    The first probe is of the encoder that the run begins with; band powers, read off likewise, stand beside it.
    """

    corpora: tuple[str, ...] = ()
    """Directories or addresses of corpora with labels; empty: no probe."""
    every_epochs: float = 1.0
    """Epochs of pretraining from one probe to the next; the last is at the end."""
    pooling: Literal["mean", "class_token", "electrodes"] = "mean"
    amplitude: bool = False
    """Features as a classifier's `pooling` and `amplitude` make them."""
    penalties: tuple[float, ...] = PENALTIES
    """As a fine-tuning's; the best on the validation split is taken, for the features as for band powers."""
    window_seconds: int | None = None
    """As `data.window_seconds`, of the probed corpora."""
    most_windows: int = 2000
    """Most windows of a split, drawn by the seed of the run."""
    select: bool = False
    """Choose the best checkpoint by the first corpus' probe instead of the loss."""

    def __post_init__(self):
        _require(self.every_epochs > 0, f"probe.every_epochs {self.every_epochs} must be positive.")
        _require(self.most_windows >= 2, f"probe.most_windows {self.most_windows} must be at least 2.")
        _check_penalties("probe.penalties", self.penalties)
        _require(
            bool(self.corpora) or not self.select,
            "probe.select chooses the best checkpoint by the first of probe.corpora, which is empty: name a corpus.",
        )


@dataclass(frozen=True, kw_only=True)
class PretrainingStageConfig(StageConfig):
    """Pretrain the encoder: predict the codes of masked patches, in two complementary views."""

    model: MaskedModelConfig = MaskedModelConfig()
    tokenizer: str = ""
    """A trained tokenizer: a run, a checkpoint, or a file of PyTorch."""
    kept_codes: Literal["auto", "required", "never"] = "auto"
    """Whether to use the tokenizer's codes that `labram-jax tokenize` kept beside the corpora: where all windows have
    theirs ("auto"), or not to train without ("required")."""
    start_from: str = ""
    """A pretrained model to go on from, or a tokenizer whose encoder knows the patches already, which helps where
    there is little data: a run, a checkpoint, or a file of PyTorch; empty starts from scratch. An official checkpoint
    with its optimizer goes on at its epoch with AdamW's moments; others give weights alone, unless `start_moments`."""
    start_moments: bool = False
    """Keep AdamW's moments of `start_from`, a run of pretraining or one of its checkpoints, while schedule and data
    begin anew. (`--branch-from` begins where it stands.)"""
    probe: ProbeConfig = ProbeConfig()

    def __post_init__(self):
        _require(
            bool(self.start_from) or not self.start_moments,
            "start_moments keeps the moments of start_from, which is empty; name a run of pretraining there.",
        )


@dataclass(frozen=True, kw_only=True)
class FinetuningStageConfig(StageConfig):
    """Fine-tune a classifier (or regressor) on labelled windows."""

    model: ClassifierConfig = ClassifierConfig()
    encoder: str = ""
    """A pretrained encoder to start from: a run, a checkpoint, or a file of PyTorch; empty starts from scratch."""
    label_smoothing: float = 0.1
    select_by: Literal[
        "auto", "loss", "auroc", "auc_pr", "balanced_accuracy", "accuracy", "cohen_kappa", "weighted_f1", "auroc_ovr",
        "log_loss", "brier", "calibration_error", "pearson_r", "r2", "rmse",
    ] = "auto"  # fmt: skip
    """Validation metric of the best model, one that the task has; "auto" is AUROC (binary), kappa (multi-class), R2
    (regression), and the loss where the validation windows give that no value."""
    trainable: Literal["all", "blocks", "lora", "head", "probe"] = "all"
    """What is trained: everything; the last blocks and all that follows them; low-rank updates of all blocks' matrices,
    and what follows them; the head with its norm; or nothing by gradients ("probe"): the head is fitted once to the
    features of the frozen encoder, by logistic regression, or by ridge regression of vectors."""
    last_blocks: int = 2
    lora_rank: int = 8
    lora_scale: float = 16.0
    """An update is lora_scale / lora_rank times the product of its two matrices."""
    penalties: tuple[float, ...] = PENALTIES
    """Of a probe, which takes the one that is best on the validation split: factors on half the squared norm of the
    weights beside the mean loss, where each kind of features has a variance of 1 in all."""
    balance: Literal["none", "loss", "sampling"] = "none"
    """How classes are made to count the same, if they are: by their weights in the loss, or by drawing the windows of
    each equally often (the rarer ones again and again)."""
    standardise_targets: bool = True
    """Of regression: the head learns targets less their mean over the training split, over their spread. What the model
    gives, and scores, are in the targets' own units."""
    patience: int | None = None
    """Evaluations without a better one after which training ends; None is never."""

    def __post_init__(self):
        _require(0 <= self.label_smoothing < 1, f"label_smoothing {self.label_smoothing} must lie in [0, 1).")
        by_steps = self.loop.evaluate_every_epochs or self.loop.evaluate_every_steps
        _require(self.patience is None or self.patience >= 1, f"patience {self.patience} must be at least 1.")
        _require(
            self.patience is None or bool(by_steps and not self.loop.evaluate_every_minutes),
            "patience counts evaluations by epochs or steps: set loop.evaluate_every_epochs or "
            "loop.evaluate_every_steps, and no minutes.",
        )
        _require(self.last_blocks >= 1, f"last_blocks {self.last_blocks} must be at least 1.")
        _require(self.lora_rank >= 1, f"lora_rank {self.lora_rank} must be at least 1.")
        _require(self.lora_scale > 0, f"lora_scale {self.lora_scale} must be positive.")
        _check_penalties("penalties", self.penalties)
        _require(
            self.trainable != "probe" or self.model.pooling != "attention",
            "a probe cannot learn the query of model.pooling 'attention': choose mean, class_token or electrodes.",
        )
        _require(
            self.trainable != "probe" or self.balance != "sampling",
            "a probe takes each window once, so that balance cannot be 'sampling': choose 'loss'.",
        )


AnyStageConfig = TokenizerStageConfig | PretrainingStageConfig | FinetuningStageConfig

STAGES: dict[str, type] = {
    "tokenizer": TokenizerStageConfig,
    "pretraining": PretrainingStageConfig,
    "fine-tuning": FinetuningStageConfig,
}
MODELS: dict[str, type] = {
    "tokenizer": TokenizerConfig,
    "encoder": MaskedModelConfig,
    "classifier": ClassifierConfig,
}


def kind_of(config: object) -> str:
    """The name under which a stage's or a model's configuration is written: "tokenizer", "pretraining", ..."""
    for table in (STAGES, MODELS):
        for name, cls in table.items():
            if type(config) is cls:
                return name
    raise TypeError(f"{type(config).__name__} is not the configuration of a stage or a model")


def replace(config, **changes):
    """`dataclasses.replace` with dotted names: replace(config, **{"data.batch_rows": 8})."""
    own, nested = {}, {}
    for name, value in changes.items():
        head, _, rest = name.partition(".")
        if rest:
            nested.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, inner in nested.items():
        own[head] = replace(getattr(config, head), **inner)
    return dataclasses.replace(config, **own)
