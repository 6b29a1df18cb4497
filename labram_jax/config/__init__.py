"""What can be chosen: frozen dataclasses for the models and the three stages, validated as they are built.

A model's configuration travels with its weights, so that no flag can disagree with a checkpoint. Defaults are
the published base model; quirks of the reference that change numbers are the defaults too, each under a name.
"""

from labram_jax.config.models import (
    CONVOLUTION_GROUPS,
    ELECTRODE_ROWS,
    FREQUENCY_BINS,
    MICROVOLTS_PER_UNIT,
    PATCH_SAMPLES,
    SAMPLE_RATE,
    SIZES,
    TIME_ROWS,
    TIME_STEPS,
    ClassifierConfig,
    EncoderConfig,
    MaskedModelConfig,
    ModelConfig,
    QuantizerConfig,
    TokenizerConfig,
    base_encoder,
    huge_encoder,
    large_encoder,
    size_of,
)
from labram_jax.config.parts import (
    CodebookTraining,
    ComputeConfig,
    DataConfig,
    GuardConfig,
    LoopConfig,
    MeshConfig,
    OptimizerConfig,
)
from labram_jax.config.stages import (
    MODELS,
    PENALTIES,
    STAGES,
    AnyStageConfig,
    FinetuningStageConfig,
    PretrainingStageConfig,
    ProbeConfig,
    StageConfig,
    TokenizerStageConfig,
    kind_of,
    replace,
)
