"""The published fine-tuning of the base encoder on TUAB: abnormal EEG (binary).

    labram-jax prepare tuab FOLDER corpora/tuab
    labram-jax train finetune_tuab_base --encoder runs/base --data.corpora corpora/tuab --loop.seed 0
    labram-jax evaluate runs/finetune_tuab_base corpora/tuab

Published (mean ± std of 5 seeds): balanced accuracy .8140 ± .0019, AUC-PR .8965 ± .0016, AUROC .9022 ± .0009.
Windows of 10 s of 23 electrodes, without overlap; the best model on validation is tested.
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
    run="runs/finetune_tuab_base",
    model=ClassifierConfig(base_encoder(drop_path=0.1), outputs=1),
    data=DataConfig(window_seconds=10, batch_rows=512, patch_slots=230, segments=1),
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
