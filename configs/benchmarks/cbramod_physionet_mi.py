"""PhysioNet-MI (EEGMMIDB) as CBraMod splits it: four imagined movements, windows of 4 s; 70 / 19 / 20 subjects.

    labram-jax prepare eegmmidb EEGMMIDB_FOLDER corpora/imagery --task imagery --split-by cbramod \
        --high-pass 0.3 --low-pass None --notch 60
    labram-jax benchmark cbramod-physionet-mi --checkpoint runs/base --corpus corpora/imagery
"""

from labram_jax.config import replace
from labram_jax.configs.finetune_tuab_base import config as of_all
from labram_jax.protocol import Protocol, Published, SubjectLists
from labram_jax.tables import Spread

SUBJECTS = tuple(f"S{number:03d}" for number in range(1, 110))

protocol = Protocol(
    name="cbramod-physionet-mi",
    title="Four imagined movements, windows of 4 s of 64 electrodes",
    corpus="eegmmidb",
    prepare=(
        "labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task imagery --split-by cbramod --high-pass 0.3 "
        "--low-pass None --notch 60"
    ),
    classes=("left fist", "right fist", "both fists", "both feet"),
    split=SubjectLists(train=SUBJECTS[:70], validation=SUBJECTS[70:89], test=SUBJECTS[89:]),
    metrics=("balanced_accuracy", "cohen_kappa", "weighted_f1"),
    finetuning={
        "base": replace(
            of_all,
            select_by="cohen_kappa",
            **{"model.outputs": 4, "data.window_seconds": 4, "data.patch_slots": 256, "data.batch_rows": 64},
        )
    },
    published=(
        Published(
            "LaBraM-Base in CBraMod's paper",
            "base",
            {"balanced_accuracy": Spread(0.617, 0.012, 5)},
            "CBraMod paper, arXiv 2412.07236, mean ± standard deviation of 5 seeds",
        ),
        Published(
            "LaBraM-Base, run again",
            "base",
            {"balanced_accuracy": Spread(0.610, 0.010, 5)},
            "an independent rerun of 5 seeds, github.com/woo0kim/eeg-analysis-methods-review",
        ),
    ),
    differences=(
        "CBraMod subtracts the mean of all electrodes",
        "LaBraM's published weights were pretrained on EEGMMIDB, its test subjects included",
    ),
)
