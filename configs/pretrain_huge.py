"""The published pretraining of the huge encoder (369 million parameters): the base recipe with another encoder.

    labram-jax train pretrain_huge --run runs/huge --tokenizer runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Prepare corpora and read scores as for pretrain_base.
"""

from configs.pretrain_base import config as base
from labram_jax.config import huge_encoder, replace

config = replace(
    base,
    run="runs/pretrain_huge",
    **{"model.encoder": huge_encoder(class_position="first_electrode", initialisation="pretraining")},
)
