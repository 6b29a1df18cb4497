"""The published fine-tuning of the huge encoder on TUAB: as the base, shorter, with a gentler layer decay.

    labram-jax train finetune_tuab_huge --encoder runs/huge --data.corpora corpora/tuab --loop.seed 0
    labram-jax evaluate runs/finetune_tuab_huge corpora/tuab

Published (mean ± std of 5 seeds): balanced accuracy .8258 ± .0011, AUC-PR .9204 ± .0011, AUROC .9162 ± .0016.
"""

from labram_jax.config import huge_encoder, replace
from labram_jax.configs.finetune_tuab_base import config as base

config = replace(
    base,
    run="runs/finetune_tuab_huge",
    **{
        "model.encoder": huge_encoder(drop_path=0.2),
        "optimizer.layer_decay": 0.8,
        "optimizer.reduce_dtype": "bfloat16",
        "optimizer.warmup_epochs": 3,
        "loop.epochs": 30,
    },
)
