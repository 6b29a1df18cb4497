"""A small classifier from a small pretrained encoder, on a laptop.

    labram-jax train demo_finetuning --run runs/classifier --encoder runs/encoder --data.corpora CORPUS
    labram-jax evaluate runs/classifier CORPUS

The classes, and so the number of outputs, come from the corpus; the size of the encoder comes from its checkpoint.
Windows of 4 s without overlap; `--data.window-seconds None` takes that of the corpus' protocol.
"""

from labram_jax.config import (
    ClassifierConfig,
    DataConfig,
    EncoderConfig,
    FinetuningStageConfig,
    LoopConfig,
    OptimizerConfig,
)

config = FinetuningStageConfig(
    run="runs/demo_finetuning",
    model=ClassifierConfig(EncoderConfig(width=100, depth=4, heads=5, temporal_channels=4, drop_path=0.1)),
    data=DataConfig(window_seconds=4, batch_rows=8, patch_slots=256, segments=3),
    optimizer=OptimizerConfig(
        learning_rate=1e-3,
        final_learning_rate=1e-6,
        warmup_epochs=2,
        betas=(0.9, 0.999),
        clip_norm=3.0,
        layer_decay=0.8,
    ),
    loop=LoopConfig(epochs=16, evaluate_every_epochs=2, save_every_epochs=2),
)
