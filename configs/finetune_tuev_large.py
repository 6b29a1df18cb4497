"""The published fine-tuning of the large encoder on TUEV: as the base, shorter, with a gentler layer decay.

    labram-jax train finetune_tuev_large --encoder runs/large --data.corpora corpora/tuev --loop.seed 0
    labram-jax evaluate runs/finetune_tuev_large corpora/tuev

Published (mean ± std of 5 seeds): balanced accuracy .6581 ± .0156, kappa .6622 ± .0136, weighted F1 .8315 ± .0040.
"""

from labram_jax.config import large_encoder, replace
from labram_jax.configs.finetune_tuev_base import config as base

config = replace(
    base,
    run="runs/finetune_tuev_large",
    **{
        "model.encoder": large_encoder(drop_path=0.1),
        "optimizer.layer_decay": 0.8,
        "optimizer.reduce_dtype": "bfloat16",
        "optimizer.warmup_epochs": 3,
        "loop.epochs": 30,
    },
)
