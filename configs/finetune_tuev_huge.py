"""The published fine-tuning of the huge encoder on TUEV: as the base, shorter, with a gentler layer decay.

    labram-jax train finetune_tuev_huge --encoder runs/huge --data.corpora corpora/tuev --loop.seed 0
    labram-jax evaluate runs/finetune_tuev_huge corpora/tuev

Published (mean ± std of 5 seeds): balanced accuracy .6616 ± .0170, kappa .6745 ± .0195, weighted F1 .8329 ± .0086.
"""

from labram_jax.config import huge_encoder, replace
from labram_jax.configs.finetune_tuev_base import config as base

config = replace(
    base,
    run="runs/finetune_tuev_huge",
    **{
        "model.encoder": huge_encoder(drop_path=0.2),
        "optimizer.layer_decay": 0.8,
        "optimizer.reduce_dtype": "bfloat16",
        "optimizer.warmup_epochs": 3,
        "loop.epochs": 30,
    },
)
