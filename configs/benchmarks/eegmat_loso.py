"""EEGMAT, leave one subject out: rest or mental arithmetic, windows of 4 s; the four subjects after it validate.

    labram-jax prepare eegmat EEGMAT_FOLDER corpora/eegmat
    labram-jax benchmark eegmat-loso --checkpoint runs/base --corpus corpora/eegmat

Open data (PhysioNet), whatever subjects there are; all 36 make 36 folds. Checkpoints and penalties are chosen by the
loss: AUROC over four subjects is much about how their levels differ.
"""

from labram_jax.config import replace
from labram_jax.configs.benchmarks.cbramod_eegmat import SUBJECTS
from labram_jax.configs.benchmarks.cbramod_eegmat import protocol as cbramod
from labram_jax.protocol import Protocol, SubjectFolds

protocol = Protocol(
    name="eegmat-loso",
    title="Rest or mental arithmetic, windows of 4 s of 19 electrodes",
    corpus="eegmat",
    prepare="labram-jax prepare eegmat EEGMAT_FOLDER OUT",
    classes=cbramod.classes,
    split=SubjectFolds(count=None, validating=4, subjects=SUBJECTS),
    metrics=("balanced_accuracy", "auroc", "auc_pr"),
    finetuning={
        "base": replace(
            cbramod.finetuning["base"],
            balance="loss",
            select_by="loss",
            **{"data.window_seconds": 4, "data.patch_slots": 76},
        ),
    },
)
