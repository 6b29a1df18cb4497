"""SEED-V as LaBraM has it: five emotions, windows of 1 s; of the 15 trials of each session 5 train, 5 validate, 5 test.

labram-jax prepare seedv SEED_V_FOLDER corpora/seedv
labram-jax benchmark labram-seedv --checkpoint runs/base --corpus corpora/seedv
"""

from labram_jax.config import replace
from labram_jax.configs.benchmarks._labram_paper import reported
from labram_jax.configs.finetune_tuab_base import config as of_all
from labram_jax.configs.finetune_tuab_huge import config as of_all_huge
from labram_jax.configs.finetune_tuab_large import config as of_all_large
from labram_jax.protocol import OwnSplits, Protocol, Published
from labram_jax.tables import Spread

METRICS = ("accuracy", "cohen_kappa", "weighted_f1")
# 62 electrodes x 1 s: four windows fill a row of the usual 256 patches, and 128 such rows are a batch of 512.
WINDOWS = {
    "model.outputs": 5,
    "data.window_seconds": 1,
    "data.patch_slots": 248,
    "data.segments": 4,
    "data.batch_rows": 128,
    "select_by": "cohen_kappa",
}

protocol = Protocol(
    name="labram-seedv",
    title="Five emotions, windows of 1 s of 62 electrodes",
    corpus="seedv",
    prepare="labram-jax prepare seedv SEED_V_FOLDER OUT",
    classes=("disgust", "fear", "sad", "neutral", "happy"),
    split=OwnSplits(),
    metrics=(*METRICS, "balanced_accuracy"),
    # The paper's appendix F: on SEED-V the larger models train as long as the base one, the huge one ten times faster.
    finetuning={
        "base": replace(of_all, **WINDOWS),
        "large": replace(of_all_large, **WINDOWS, **{"loop.epochs": 50, "optimizer.warmup_epochs": 4}),
        "huge": replace(
            of_all_huge,
            **WINDOWS,
            **{"loop.epochs": 50, "optimizer.warmup_epochs": 5, "optimizer.learning_rate": 5e-3},
        ),
    },
    published=(
        *reported(
            METRICS,
            {
                "base": ((0.4095, 0.0062), (0.2613, 0.0075), (0.4120, 0.0057)),
                "large": ((0.4096, 0.0075), (0.2639, 0.0090), (0.4127, 0.0079)),
                "huge": ((0.4102, 0.0037), (0.2646, 0.0046), (0.4136, 0.0047)),
            },
            windows=148_080,
        ),
        Published(
            "LaBraM-Base in CBraMod's paper",
            "base",
            {"balanced_accuracy": Spread(0.398, 0.014, 5)},
            "CBraMod paper, arXiv 2412.07236, mean ± standard deviation of 5 seeds",
            117_744,
        ),
    ),
    differences=("LaBraM's paper has 20 subjects, of whom 16 are given out, whom CBraMod's has",),
)
