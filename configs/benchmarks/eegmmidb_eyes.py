"""EEGMMIDB, eyes open or closed, windows of 4 s, ten folds by subject: who is tested has not trained.

    labram-jax prepare eegmmidb EEGMMIDB_FOLDER corpora/eyes --task eyes --split-by subject
    labram-jax benchmark eegmmidb-eyes --checkpoint runs/base --corpus corpora/eyes

Open data (PhysioNet). For a few subjects, or one: `eegmmidb-eyes-time`.
"""

from labram_jax.config import replace
from labram_jax.configs.benchmarks.cbramod_physionet_mi import SUBJECTS
from labram_jax.configs.benchmarks.cbramod_physionet_mi import protocol as imagery
from labram_jax.protocol import Protocol, SubjectFolds

protocol = Protocol(
    name="eegmmidb-eyes",
    title="Eyes open or closed, windows of 4 s of 64 electrodes",
    corpus="eegmmidb",
    prepare="labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task eyes --split-by subject",
    classes=("open", "closed"),
    split=SubjectFolds(count=10, subjects=SUBJECTS),
    metrics=("balanced_accuracy", "auroc", "auc_pr"),
    finetuning={"base": replace(imagery.finetuning["base"], select_by="auroc", **{"model.outputs": 1})},
    differences=("LaBraM's published weights were pretrained on EEGMMIDB, its test subjects included",),
)
