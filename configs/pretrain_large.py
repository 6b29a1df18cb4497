"""The published pretraining of the large encoder (46 million parameters): as the base, with another encoder.

    labram-jax train pretrain_large --run runs/large --tokenizer runs/tokenizer --data.corpora CORPUS [CORPUS ...]

Windows and what scores mean are as for pretrain_base.
"""

from labram_jax.config import large_encoder, replace
from labram_jax.configs.pretrain_base import config as base

config = replace(
    base,
    run="runs/pretrain_large",
    **{
        "model.encoder": large_encoder(class_position="first_electrode", initialisation="pretraining"),
        "optimizer.reduce_dtype": "bfloat16",
    },
)
