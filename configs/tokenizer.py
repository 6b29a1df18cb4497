"""The published tokenizer (VQ-NSP), for encoders of every size.

    labram-jax train tokenizer --run runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Windows of four seconds, one beginning every second: 256 patches of 64 electrodes (for fewer electrodes the paper takes
longer windows: `--data.window-seconds 8` for 32). Batch 1024; the learning rate is the published 5e-5 for each 128
windows of a batch. 7.5 million parameters are trained. The paper gives no score of the tokenizer; predicting the mean
costs 1 in amplitude and 1 in phase.
"""

from labram_jax.config import (
    ComputeConfig,
    DataConfig,
    LoopConfig,
    OptimizerConfig,
    TokenizerStageConfig,
)

config = TokenizerStageConfig(
    run="runs/tokenizer",
    data=DataConfig(window_seconds=4, stride_seconds=1, batch_rows=1024, patch_slots=256, segments=1),
    optimizer=OptimizerConfig(
        learning_rate=4e-4,
        final_learning_rate=1e-5,
        warmup_epochs=10,
        betas=(0.9, 0.99),
        weight_decay=1e-4,
        clip_norm=None,
    ),
    loop=LoopConfig(epochs=100),
    compute=ComputeConfig(dtype="bfloat16", code_chunk=2048),
)
