"""The published fine-tuning of the base encoder on TUEV: six event types.

    labram-jax prepare tuev FOLDER corpora/tuev
    labram-jax train finetune_tuev_base --encoder runs/base --data.corpora corpora/tuev --loop.seed 0
    labram-jax evaluate runs/finetune_tuev_base corpora/tuev

Published (mean ± std of 5 seeds): balanced accuracy .6409 ± .0065, kappa .6637 ± .0093, weighted F1 .8312 ± .0052.
Windows of 5 s of 23 electrodes, one at each event; the best model on validation is tested.
"""

from labram_jax.config import (
    ClassifierConfig,
    ComputeConfig,
    DataConfig,
    FinetuningStageConfig,
    LoopConfig,
    OptimizerConfig,
    base_encoder,
)

config = FinetuningStageConfig(
    run="runs/finetune_tuev_base",
    model=ClassifierConfig(base_encoder(drop_path=0.1), outputs=6),
    data=DataConfig(window_seconds=5, batch_rows=512, patch_slots=115, segments=1),
    optimizer=OptimizerConfig(
        learning_rate=5e-4,
        final_learning_rate=1e-6,
        warmup_epochs=5,
        betas=(0.9, 0.999),
        weight_decay=0.05,
        clip_norm=None,
        layer_decay=0.65,
    ),
    loop=LoopConfig(epochs=50),
    compute=ComputeConfig(dtype="bfloat16"),
    label_smoothing=0.1,
)
