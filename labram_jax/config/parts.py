"""What every stage has: how it is computed, its data, optimizer and loop; and what is the codebook's alone."""

from dataclasses import dataclass
from typing import Literal

from labram_jax.config.checking import require
from labram_jax.config.models import SAMPLE_RATE, TIME_ROWS


@dataclass(frozen=True)
class ComputeConfig:
    """How a model is computed, which never changes what it computes beyond rounding.

    `dtype` is that of matrix products; parameters, norms, softmax, codebook and losses stay float32 (float64 only
    to validate numerics, with JAX_ENABLE_X64=1).
    """

    dtype: Literal["float32", "bfloat16", "float64"] = "float32"
    """Type of the factors of matrix products; float64 only to validate numerics."""
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
            require(getattr(self, name) >= 1, f"compute.{name} must be at least 1, not {getattr(self, name)}.")


@dataclass(frozen=True)
class DataConfig:
    """Which corpora, in which proportion, in rows of which shape."""

    corpora: tuple[str, ...] = ()
    """Directories made by `labram-jax prepare`, or their addresses in a bucket (gs://, s3://, ...)."""
    weights: tuple[float, ...] = ()
    """Share of each corpus in every batch; empty is in proportion to its windows."""
    train_split: str = "train"
    """Split of the corpora that is trained on."""
    validation_split: str = "validation"
    """Split that chooses the best checkpoint; empty: no validation."""
    test_split: str = "test"
    """Split that is scored at the end; empty: none."""
    validation_subjects: tuple[str, ...] = ()
    """Subjects, as the corpora name them, who validate whatever the corpora say; see test_subjects."""
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
    """Patches that a row has room for, of all its windows."""
    segments: int = 1
    """Most windows in one row."""
    threads: int = 4
    """Threads of a process that read and pack batches."""
    prefetch: int = 4
    """Batches that are ready ahead of the step."""
    workers: int = 0
    """Processes that prepare training batches instead of the threads, where these do not keep up."""
    damaged_share: float = 0.0
    """Share of the windows that may be damaged on disk: they are named and left out. By default the first one stops the
    run."""

    def __post_init__(self):
        for name in ("batch_rows", "patch_slots", "segments", "threads", "prefetch"):
            require(getattr(self, name) >= 1, f"data.{name} must be at least 1, not {getattr(self, name)}.")
        require(
            self.window_seconds is None or 1 <= self.window_seconds <= TIME_ROWS,
            f"data.window_seconds must be a whole number from 1 to {TIME_ROWS}, not {self.window_seconds}.",
        )
        require(
            self.stride_seconds is None or self.stride_seconds >= 1 / SAMPLE_RATE,
            f"data.stride_seconds must be at least a sample ({1 / SAMPLE_RATE}), not {self.stride_seconds}.",
        )
        require(self.workers >= 0, f"data.workers must be at least 0, not {self.workers}.")
        self._check_splits()
        require(
            0 <= self.damaged_share < 1,
            f"data.damaged_share must be a share from 0 to below 1, not {self.damaged_share}.",
        )
        require(
            not self.weights or len(self.weights) == len(self.corpora),
            f"data.weights has {len(self.weights)} entries for {len(self.corpora)} corpora; give one each or none.",
        )
        require(all(w > 0 for w in self.weights), f"data.weights {self.weights} must all be positive.")

    @property
    def resplits(self) -> bool:
        """Whether the splits are those of this configuration and not those of the corpora."""
        return bool(self.validation_subjects or self.test_subjects or self.time_folds)

    def _check_splits(self) -> None:
        both = sorted({*self.validation_subjects} & {*self.test_subjects})
        require(not both, f"data.validation_subjects and data.test_subjects both name {', '.join(both)}: choose one.")
        require(
            self.time_folds == 0 or self.time_folds >= 3,
            f"data.time_folds must be 0 or at least 3 (train, validation, test), not {self.time_folds}.",
        )
        require(
            0 <= self.test_fold < max(self.time_folds, 1),
            f"data.test_fold {self.test_fold} must be one of the {self.time_folds} of data.time_folds, from 0.",
        )
        require(
            not (self.time_folds and (self.validation_subjects or self.test_subjects)),
            "data.time_folds and lists of subjects cannot both say what the splits are: give one of the two.",
        )


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW with the reference's groups, warm-up and cosine schedule."""

    learning_rate: float = 5e-4
    """The largest learning rate, at the end of the warm-up."""
    final_learning_rate: float = 1e-5
    """Learning rate where the cosine ends."""
    warmup_epochs: float = 5
    """Epochs over which the learning rate rises from 0."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay of the first and the second moment."""
    epsilon: float = 1e-8
    """AdamW's, beside the root of the second moment."""
    weight_decay: float = 0.05
    """Of matrices, convolutions and the mask token; biases, norms and embeddings have none."""
    clip_norm: float | None = 3.0
    """Largest norm of the gradients of a step; None is no limit."""
    layer_decay: float = 1.0
    """Factor on the learning rate from each block to the one below it; 1 is none."""
    time_embedding_layer: Literal["top", "bottom"] = "top"
    """Layer-decay group of the time embedding: the reference leaves it at the top by accident."""
    ema_decay: float | None = None
    """Decay of moving averages of the trained parameters (the reference's --model_ema takes 0.9999). They are then the
    run's model, which is scored, chosen and handed on; what moves stays in its checkpoints. None keeps no averages."""
    ema_warmup: bool = False
    """Let that decay rise from 0.1, so that averages of short trainings forget where they began."""
    accumulate: int = 1
    """Microbatches whose gradients are taken one after another: less memory, the same update."""
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which gradients are summed over the axis `data` of the mesh; half the bytes in bfloat16."""

    def __post_init__(self):
        require(self.learning_rate > 0, f"optimizer.learning_rate {self.learning_rate} must be positive.")
        require(self.epsilon > 0, f"optimizer.epsilon {self.epsilon} must be positive.")
        for name in ("final_learning_rate", "warmup_epochs", "weight_decay"):
            require(getattr(self, name) >= 0, f"optimizer.{name} {getattr(self, name)} must not be negative.")
        require(
            len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas),
            f"optimizer.betas {self.betas} must be two numbers in [0, 1).",
        )
        require(
            self.clip_norm is None or self.clip_norm > 0,
            f"optimizer.clip_norm {self.clip_norm} must be positive.",
        )
        require(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"optimizer.ema_decay {self.ema_decay} must lie in (0, 1), or be None.",
        )
        require(
            not self.ema_warmup or self.ema_decay is not None,
            "optimizer.ema_warmup is of averages that are not kept: give optimizer.ema_decay.",
        )
        require(0 < self.layer_decay <= 1, f"optimizer.layer_decay {self.layer_decay} must lie in (0, 1].")
        require(self.accumulate >= 1, f"optimizer.accumulate {self.accumulate} must be at least 1.")


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
    """Epochs from one evaluation to the next; None is never."""
    evaluate_every_steps: int | None = None
    """The same in steps."""
    evaluate_every_minutes: float | None = None
    """The same in minutes."""
    save_every_epochs: float | None = 1.0
    """Epochs from one checkpoint to the next; None is never."""
    save_every_steps: int | None = None
    """The same in steps."""
    save_every_minutes: float | None = None
    """The same in minutes."""
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
    """Decides all that is random in the training: parameters, order of windows, masks, drop path."""

    def __post_init__(self):
        require(self.epochs > 0, f"loop.epochs {self.epochs} must be positive.")
        for name in (f"{act}_every_{unit}" for act in ("evaluate", "save") for unit in ("epochs", "steps", "minutes")):
            value = getattr(self, name)
            require(value is None or value > 0, f"loop.{name} {value} must be positive (None is never).")
        require(self.log_every >= 1 and self.keep >= 1, "loop.log_every and loop.keep must be at least 1.")
        require(
            1 <= self.steps_per_dispatch <= self.log_every,
            f"loop.steps_per_dispatch {self.steps_per_dispatch} must lie between 1 and loop.log_every "
            f"({self.log_every}), since a logged interval ends with a program.",
        )
        require(self.stop_seconds > 0, f"loop.stop_seconds {self.stop_seconds} must be positive.")
        require(
            self.watchdog_minutes is None or self.watchdog_minutes > 0,
            f"loop.watchdog_minutes {self.watchdog_minutes} must be positive (None is never).",
        )
        require(self.seed >= 0, f"loop.seed {self.seed} must not be negative.")


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
        require(
            self.spike_deviations is None or self.spike_deviations > 0,
            f"guard.spike_deviations {self.spike_deviations} must be positive (None lets all that is finite through).",
        )
        require(self.spike_window >= 2, f"guard.spike_window must be at least 2, not {self.spike_window}.")
        require(self.skips_in_a_row >= 1, f"guard.skips_in_a_row must be at least 1, not {self.skips_in_a_row}.")
        require(self.go_back >= 0, f"guard.go_back {self.go_back} must not be negative.")


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; one of them may be -1: whatever is left."""

    data: int = -1
    """Devices over which rows of a batch are spread; -1 takes all that are left."""
    fsdp: int = 1
    """Devices over which parameters and moments are spread too."""
    model: int = 1
    """Devices over which heads and inner layers are spread."""


@dataclass(frozen=True)
class CodebookTraining:
    """How the codebook is started and kept alive; the defaults are as published.

    The commitment loss can shrink the latents onto one code before the decoder has use for them. The remedies:
    train encoder and decoder without the quantizer first and start the codebook after that (`bypass_epochs`), let
    the commitment weight rise linearly from 0 from there on (`commitment_warmup_epochs`), and move codes that
    nobody uses onto current latents (`restart_below`).
    """

    commitment_weight: float = 1.0
    """Weight of the commitment loss beside that of the spectra."""
    kmeans_start: bool = True
    """Start the codebook by k-means over the latents of a batch."""
    kmeans_iterations: int = 10
    """Iterations of that k-means."""
    bypass_epochs: float = 0.0
    """Epochs without the quantizer, before the codebook starts."""
    bypass_noise: float = 0.0
    """Standard deviation of the noise on the unit latents while the quantizer is bypassed, per element."""
    commitment_warmup_epochs: float = 0.0
    """Epochs over which the commitment weight rises from 0."""
    restart_below: float = 0.0
    """A code whose running count per step falls below this moves onto a latent of the batch; 0 is never. Even use of
    all codes has a count of patches per batch over codes; a hundredth of it is a good threshold."""
    warn_below: float = 0.05
    """Perplexity of a batch's codes, as a share of what was possible, below which a warning says what to do."""

    def __post_init__(self):
        for name in ("commitment_weight", "bypass_epochs", "bypass_noise", "commitment_warmup_epochs", "restart_below"):
            require(getattr(self, name) >= 0, f"codebook.{name} {getattr(self, name)} must not be negative.")
        require(self.kmeans_iterations >= 1, "codebook.kmeans_iterations must be at least 1.")
