"""What is trained: a configuration for each stage, and what they are called."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from labram_jax.config.checking import require
from labram_jax.config.models import ClassifierConfig, MaskedModelConfig, TokenizerConfig
from labram_jax.config.parts import (
    CodebookTraining,
    ComputeConfig,
    DataConfig,
    GuardConfig,
    LoopConfig,
    MeshConfig,
    OptimizerConfig,
)

PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 10.0)


def check_penalties(name: str, penalties: tuple[float, ...]) -> None:
    sentence = f"{name} {penalties} must be one positive number or more."
    require(bool(penalties) and all(penalty > 0 for penalty in penalties), sentence)


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """What every stage has; `run` is the directory for checkpoints, logs and figures."""

    run: str
    """Directory for checkpoints, log and figures; a training that is there goes on."""
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

    def __post_init__(self):
        require(
            self.optimizer.ema_decay is None,
            "a tokenizer has no optimizer.ema_decay, since its codebook is of the encoder that moves: leave it out.",
        )


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
    """How features are made of patches, as a classifier's `pooling`."""
    amplitude: bool = False
    """Also the log amplitude of each electrode."""
    filters: bool = False
    """Also that of what each filter of the temporal convolution gives of it."""
    penalties: tuple[float, ...] = PENALTIES
    """As a fine-tuning's; the best on the validation split is taken, for the features as for band powers."""
    window_seconds: int | None = None
    """As `data.window_seconds`, of the probed corpora."""
    most_windows: int = 2000
    """Most windows of a split, drawn by the seed of the run."""
    select: bool = False
    """Choose the best checkpoint by the first corpus' probe instead of the loss."""

    def __post_init__(self):
        require(self.every_epochs > 0, f"probe.every_epochs {self.every_epochs} must be positive.")
        require(self.most_windows >= 2, f"probe.most_windows {self.most_windows} must be at least 2.")
        check_penalties("probe.penalties", self.penalties)
        require(
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
        require(
            bool(self.start_from) or not self.start_moments,
            "start_moments keeps the moments of start_from, which is empty; name a run of pretraining there.",
        )


@dataclass(frozen=True, kw_only=True)
class FinetuningStageConfig(StageConfig):
    """Fine-tune a classifier (or regressor) on labelled windows."""

    model: ClassifierConfig = ClassifierConfig()
    encoder: str = ""
    """A pretrained encoder to start from: a run (of a tokenizer too), a checkpoint, or a file of PyTorch; empty starts
    from scratch."""
    label_smoothing: float = 0.1
    """Share of a label's weight that is spread evenly over the classes."""
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
    """How many blocks are trained with trainable "blocks"."""
    lora_rank: int = 8
    """Inner dimension of the low-rank updates with trainable "lora"."""
    lora_scale: float = 16.0
    """An update is lora_scale / lora_rank times the product of its two matrices."""
    penalties: tuple[float, ...] = PENALTIES
    """Of a probe, which takes the one that is best on the validation split: factors on half the squared norm of the
    weights beside the mean loss, where each kind of features has a variance of 1 in all."""
    kept_features: Literal["auto", "never"] = "auto"
    """Whether a probe's features of the frozen encoder are kept beside the corpora (or in the cache, where these cannot
    be written to), and used where they are. They are of all windows, so that other splits and seeds use them too."""
    balance: Literal["none", "loss", "sampling"] = "none"
    """How classes are made to count the same, if they are: by their weights in the loss, or by drawing the windows of
    each equally often (the rarer ones again and again). In the loss of other splits they count the same then too."""
    standardise_targets: bool = True
    """Of regression: the head learns targets less their mean over the training split, over their spread. What the model
    gives, and scores, are in the targets' own units."""
    patience: int | None = None
    """Evaluations without a better one after which training ends; None is never."""

    def __post_init__(self):
        require(0 <= self.label_smoothing < 1, f"label_smoothing {self.label_smoothing} must lie in [0, 1).")
        by_steps = self.loop.evaluate_every_epochs or self.loop.evaluate_every_steps
        require(self.patience is None or self.patience >= 1, f"patience {self.patience} must be at least 1.")
        require(
            self.patience is None or bool(by_steps and not self.loop.evaluate_every_minutes),
            "patience counts evaluations by epochs or steps: set loop.evaluate_every_epochs or "
            "loop.evaluate_every_steps, and no minutes.",
        )
        require(self.last_blocks >= 1, f"last_blocks {self.last_blocks} must be at least 1.")
        require(self.lora_rank >= 1, f"lora_rank {self.lora_rank} must be at least 1.")
        require(self.lora_scale > 0, f"lora_scale {self.lora_scale} must be positive.")
        check_penalties("penalties", self.penalties)
        require(
            self.trainable != "probe" or self.model.pooling != "attention",
            "a probe cannot learn the query of model.pooling 'attention': choose mean, class_token or electrodes.",
        )
        require(
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
