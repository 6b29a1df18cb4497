"""The published fine-tuning of the large encoder on TUAB: as the base, shorter, with a gentler layer decay.

    labram-jax train finetune_tuab_large --encoder runs/large --data.corpora corpora/tuab --loop.seed 0
    labram-jax evaluate runs/finetune_tuab_large corpora/tuab

Published (mean ± std of 5 seeds): balanced accuracy .8226 ± .0015, AUC-PR .9130 ± .0005, AUROC .9127 ± .0005.
"""

from labram_jax.config import large_encoder, replace
from labram_jax.configs.finetune_tuab_base import config as base

config = replace(
    base,
    run="runs/finetune_tuab_large",
    **{
        "model.encoder": large_encoder(drop_path=0.1),
        "optimizer.layer_decay": 0.8,
        "optimizer.reduce_dtype": "bfloat16",
        "optimizer.warmup_epochs": 3,
        "loop.epochs": 30,
    },
)
