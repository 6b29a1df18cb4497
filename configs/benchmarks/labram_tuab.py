"""TUAB as LaBraM has it: is a recording of 10 s abnormal? Official test set, training subjects split 80/20.

labram-jax prepare tuab TUAB_FOLDER corpora/tuab
labram-jax benchmark labram-tuab --checkpoint runs/base --corpus corpora/tuab
"""

from labram_jax.configs.benchmarks._labram_paper import reported
from labram_jax.configs.finetune_tuab_base import config as base
from labram_jax.configs.finetune_tuab_huge import config as huge
from labram_jax.configs.finetune_tuab_large import config as large
from labram_jax.protocol import OwnSplits, Protocol

METRICS = ("balanced_accuracy", "auc_pr", "auroc")

protocol = Protocol(
    name="labram-tuab",
    title="Normal or abnormal EEG, windows of 10 s of 23 electrodes",
    corpus="tuab",
    prepare="labram-jax prepare tuab TUAB_FOLDER OUT",
    classes=("normal", "abnormal"),
    split=OwnSplits(),
    metrics=METRICS,
    finetuning={"base": base, "large": large, "huge": huge},
    published=reported(
        METRICS,
        {
            "base": ((0.8140, 0.0019), (0.8965, 0.0016), (0.9022, 0.0009)),
            "large": ((0.8226, 0.0015), (0.9130, 0.0005), (0.9127, 0.0005)),
            "huge": ((0.8258, 0.0011), (0.9204, 0.0011), (0.9162, 0.0016)),
        },
        windows=409_455,
    ),
    differences=(
        "the official script splits the training subjects of each class by themselves and without a seed, so that a "
        "subject with normal and abnormal recordings may train and validate; here each is in one split",
    ),
)
