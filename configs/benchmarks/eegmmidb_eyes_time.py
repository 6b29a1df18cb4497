"""EEGMMIDB, eyes open or closed, windows of 2 s every 0.25 s, five folds in time: scores are within subjects.

    labram-jax prepare eegmmidb EEGMMIDB_FOLDER corpora/eyes --task eyes --split-by none
    labram-jax benchmark eegmmidb-eyes-time --checkpoint runs/base --corpus corpora/eyes

For a few subjects, or one: a recording is of one class, so that who knows it again knows the class. Checkpoints and
penalties are chosen by the loss, since many reach an AUROC of 1 on validation.
"""

from labram_jax.config import replace
from labram_jax.configs.benchmarks.eegmmidb_eyes import protocol as by_subject
from labram_jax.protocol import Protocol, TimeFolds

protocol = Protocol(
    name="eegmmidb-eyes-time",
    title="Eyes open or closed, windows of 2 s of 64 electrodes every 0.25 s",
    corpus="eegmmidb",
    prepare="labram-jax prepare eegmmidb EEGMMIDB_FOLDER OUT --task eyes --split-by none",
    classes=by_subject.classes,
    split=TimeFolds(5),
    metrics=by_subject.metrics,
    finetuning={
        "base": replace(
            by_subject.finetuning["base"],
            select_by="loss",
            **{"data.window_seconds": 2, "data.stride_seconds": 0.25, "data.patch_slots": 128},
        )
    },
    differences=by_subject.differences,
)
