"""The published tokenizer (VQ-NSP), for encoders of every size.

    labram-jax train tokenizer --run runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Corpora are prepared with a stride of one second (`--stride-seconds 1`), in windows of about 256 patches. Batch 1024;
the learning rate is the published 5e-5 for each 128 windows of a batch. 7.5 million parameters are trained. The paper
gives no score of the tokenizer; predicting the mean costs 1 in amplitude and 1 in phase.
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
    data=DataConfig(batch_rows=1024, patch_slots=256, segments=1),
    optimizer=OptimizerConfig(
        learning_rate=4e-4,
        final_learning_rate=1e-5,
        warmup_epochs=10,
        betas=(0.9, 0.99),
        weight_decay=1e-4,
        clip_norm=None,
    ),
    loop=LoopConfig(epochs=100),
    compute=ComputeConfig(dtype="bfloat16", remat="block", code_chunk=2048),
)
