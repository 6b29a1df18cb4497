"""EEGMAT as CBraMod splits it: rest or mental arithmetic, windows of 5 s; 28 / 4 / 4 subjects.

labram-jax prepare eegmat EEGMAT_FOLDER corpora/eegmat --split-by cbramod --high-pass None --low-pass None --notch None
labram-jax benchmark cbramod-eegmat --checkpoint runs/base --corpus corpora/eegmat
"""

from labram_jax.config import replace
from labram_jax.configs.finetune_tuab_base import config as of_all
from labram_jax.protocol import Protocol, Published, SubjectLists
from labram_jax.tables import Spread

SUBJECTS = tuple(f"Subject{number:02d}" for number in range(36))

protocol = Protocol(
    name="cbramod-eegmat",
    title="Rest or mental arithmetic, windows of 5 s of 19 electrodes",
    corpus="eegmat",
    prepare=(
        "labram-jax prepare eegmat EEGMAT_FOLDER OUT --split-by cbramod --high-pass None --low-pass None --notch None"
    ),
    classes=("rest", "arithmetic"),
    split=SubjectLists(train=SUBJECTS[:28], validation=SUBJECTS[28:32], test=SUBJECTS[32:]),
    metrics=("balanced_accuracy", "auc_pr", "auroc"),
    finetuning={
        "base": replace(
            of_all,
            select_by="auroc",
            **{"data.window_seconds": 5, "data.patch_slots": 95, "data.batch_rows": 64},
        )
    },
    published=(
        Published(
            "LaBraM-Base in CBraMod's paper",
            "base",
            {
                "balanced_accuracy": Spread(0.6909, 0.0125, 5),
                "auc_pr": Spread(0.5999, 0.0155, 5),
                "auroc": Spread(0.7721, 0.0093, 5),
            },
            "CBraMod paper, arXiv 2412.07236, mean ± standard deviation of 5 seeds",
            1_707,
        ),
        Published(
            "LaBraM-Base, run again",
            "base",
            {
                "balanced_accuracy": Spread(0.6562, 0.0397, 5),
                "auc_pr": Spread(0.6146, 0.0793, 5),
                "auroc": Spread(0.7791, 0.0608, 5),
            },
            "an independent rerun of 5 seeds, github.com/woo0kim/eeg-analysis-methods-review",
            1_707,
            {"balanced_accuracy": (0.7014, 0.6701, 0.6736, 0.6389, 0.5972)},
        ),
    ),
    differences=(
        "CBraMod has a twentieth channel, A2-A1, which is no electrode (the rerun leaves it out too)",
        "AUC-PR is average precision here and an area by trapezoids there",
    ),
)
