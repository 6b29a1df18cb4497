"""MoBI as LaBraM has it: 12 joint angles of walking people, windows of 2 s every 50 ms.

Of each trial the first ten minutes train, the next five validate, and the last five test.

    labram-jax prepare mobi MOBI_FOLDER corpora/mobi
    labram-jax benchmark labram-mobi --checkpoint runs/base --corpus corpora/mobi
"""

from labram_jax.config import replace
from labram_jax.configs.benchmarks._labram_paper import reported
from labram_jax.configs.finetune_tuab_base import config as of_all
from labram_jax.configs.finetune_tuab_huge import config as of_all_huge
from labram_jax.configs.finetune_tuab_large import config as of_all_large
from labram_jax.protocol import OwnSplits, Protocol

METRICS = ("pearson_r", "r2", "rmse")
# 60 electrodes x 2 s: two windows fill a row, and 256 such rows are a batch of 512. Preparation decides the stride.
WINDOWS = {
    "model.task": "regression",
    "model.outputs": 12,
    "standardise_targets": False,
    "data.window_seconds": 2,
    "data.patch_slots": 240,
    "data.segments": 2,
    "data.batch_rows": 256,
    "select_by": "r2",
}

protocol = Protocol(
    name="labram-mobi",
    title="Angles of 12 joints (in 90 degrees), windows of 2 s of 60 electrodes every 50 ms",
    corpus="mobi",
    prepare="labram-jax prepare mobi MOBI_FOLDER OUT",
    split=OwnSplits(),
    metrics=METRICS,
    finetuning={
        size: replace(config, **WINDOWS)
        for size, config in (("base", of_all), ("large", of_all_large), ("huge", of_all_huge))
    },
    published=reported(
        METRICS,
        {
            "base": ((0.5383, 0.0102), (0.2876, 0.0032), (0.1225, 0.0003)),
            "large": ((0.5603, 0.0020), (0.3093, 0.0032), (0.1197, 0.0003)),
            "huge": ((0.5632, 0.0023), (0.3145, 0.0032), (0.1196, 0.0003)),
        },
        windows=575_830,
    ),
    differences=("the paper says neither which 12 targets these are nor of which moment: here, at a window's end",),
)
