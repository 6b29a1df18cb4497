"""A small encoder for a small corpus and a laptop.

    labram-jax train demo_pretraining --run runs/encoder --tokenizer runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Guessing evenly among the tokenizer's 64 codes costs ln 64 = 4.159 in each view, and guessing by how often each occurs
the logarithm of their perplexity: below that, context is of use. Getting there can take a thousand steps; starting
from the tokenizer's encoder (`--start-from runs/tokenizer`) with a learning rate of 3e-3 did it on a few public
recordings. Windows of 4 s without overlap.
"""

from labram_jax.config import (
    DataConfig,
    EncoderConfig,
    LoopConfig,
    MaskedModelConfig,
    OptimizerConfig,
    PretrainingStageConfig,
)

config = PretrainingStageConfig(
    run="runs/demo_pretraining",
    model=MaskedModelConfig(
        encoder=EncoderConfig(
            width=100,
            depth=4,
            heads=5,
            temporal_channels=4,
            class_position="first_electrode",
            initialisation="pretraining",
        )
    ),
    data=DataConfig(window_seconds=4, batch_rows=8, patch_slots=256, segments=3),
    optimizer=OptimizerConfig(learning_rate=1e-3, final_learning_rate=1e-5, warmup_epochs=2),
    loop=LoopConfig(epochs=16, evaluate_every_epochs=4, save_every_epochs=4),
)
