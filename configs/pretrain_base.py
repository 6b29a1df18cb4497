"""The published pretraining of the base encoder (5.8 million parameters).

    labram-jax train pretrain_base --run runs/base --tokenizer runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Windows of four seconds without overlap: 256 patches of 64 electrodes (for fewer electrodes the paper takes longer
windows: `--data.window-seconds 8` for 32). Batch 512.
The paper gives no pretraining score; guessing evenly among 8192 codes costs ln 8192 = 9.011 in each view.
"""

from labram_jax.config import (
    ComputeConfig,
    DataConfig,
    LoopConfig,
    MaskedModelConfig,
    OptimizerConfig,
    PretrainingStageConfig,
    base_encoder,
)

config = PretrainingStageConfig(
    run="runs/pretrain_base",
    model=MaskedModelConfig(base_encoder(class_position="first_electrode", initialisation="pretraining")),
    data=DataConfig(window_seconds=4, stride_seconds=4, batch_rows=512, patch_slots=256, segments=1),
    optimizer=OptimizerConfig(
        learning_rate=5e-4,
        final_learning_rate=1e-5,
        warmup_epochs=5,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        clip_norm=3.0,
    ),
    loop=LoopConfig(epochs=50),
    compute=ComputeConfig(dtype="bfloat16", code_chunk=2048),
)
