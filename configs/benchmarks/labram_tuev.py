"""TUEV as LaBraM has it: six kinds of events, 5 s around each. Official test set, training subjects split 80/20.

labram-jax prepare tuev TUEV_FOLDER corpora/tuev
labram-jax benchmark labram-tuev --checkpoint runs/base --corpus corpora/tuev
"""

from labram_jax.configs.benchmarks._labram_paper import reported
from labram_jax.configs.finetune_tuev_base import config as base
from labram_jax.configs.finetune_tuev_huge import config as huge
from labram_jax.configs.finetune_tuev_large import config as large
from labram_jax.protocol import OwnSplits, Protocol

METRICS = ("balanced_accuracy", "cohen_kappa", "weighted_f1")

protocol = Protocol(
    name="labram-tuev",
    title="Six kinds of events, windows of 5 s of 23 electrodes",
    corpus="tuev",
    prepare="labram-jax prepare tuev TUEV_FOLDER OUT",
    classes=("SPSW", "GPED", "PLED", "EYEM", "ARTF", "BCKG"),
    split=OwnSplits(),
    metrics=METRICS,
    finetuning={"base": base, "large": large, "huge": huge},
    published=reported(
        METRICS,
        {
            "base": ((0.6409, 0.0065), (0.6637, 0.0093), (0.8312, 0.0052)),
            "large": ((0.6581, 0.0156), (0.6622, 0.0136), (0.8315, 0.0040)),
            "huge": ((0.6616, 0.0170), (0.6745, 0.0195), (0.8329, 0.0086)),
        },
        windows=112_491,
    ),
)
