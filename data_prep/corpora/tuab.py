"""TUAB, the TUH Abnormal EEG Corpus: is a recording normal (0) or abnormal (1)?

    labram-jax prepare tuab TUAB_FOLDER OUT [--notch 60]

Source and citation: `data_prep/corpora/tuh.py`; also López de Diego S. Automated Interpretation of Abnormal Adult
Electroencephalograms. Temple University, 2017. Licence: that of the registration.

Files lie in `edf/{train,eval}/{normal,abnormal}/**/SUBJECT_SESSION_TOKEN.edf`, and the folder is the label. Protocol:
23 electrodes, 0.1-75 Hz, notch 50 Hz (the recordings are American: 60 Hz is an option), 10 s windows without overlap,
the remainder dropped, and no window judged by its quality. `eval` is the test set. Of the training subjects 0.8 train
and 0.2 validate, whole subjects, seeded.

The official script shares out the subjects of each class by themselves, so that one with normal and abnormal recordings
may land on both sides; `--split-by official` does that.
"""

from pathlib import Path

from data_prep.corpora import tuh
from data_prep.corpora.sources import corpus_plan, recording_name
from data_prep.corpora.splits import chosen_split, split_subjects
from data_prep.options import PrepareOptions
from data_prep.plan import FINITE_ONLY, CorpusPlan, RecordingPlan, Span
from labram_jax.errors import InputError

CLASSES = ("normal", "abnormal")
WINDOW_SECONDS = 10


def plan(source: Path | None, options: PrepareOptions) -> CorpusPlan:
    """Plans TUAB, or those of its recordings that the folder holds.

    Raises:
      InputError: the folder is not laid out as TUAB, holds no recording, or has too few subjects to split.
    """
    root = tuh.edf_folder(source, "tuab")
    by = chosen_split(options, "tuab", "subject", ("subject", "official"))
    files = {
        path: (part, label)
        for part in ("train", "eval")
        for label, name in enumerate(CLASSES)
        for path in sorted((root / part / name).rglob("*.edf"))
    }
    if not files:
        raise InputError(f"{root} holds no {{train,eval}}/{{normal,abnormal}}/**/*.edf; give the folder of TUAB.")
    splits = _splits(files, by, options)
    return corpus_plan(
        "tuab",
        [
            RecordingPlan(
                path,
                recording_name(path, root),
                _subject(path),
                (Span(split="test" if part == "eval" else splits[_subject(path), label], label=label),),
            )
            for path, (part, label) in files.items()
        ],
        options,
        classes=CLASSES,
        electrodes=tuh.ELECTRODES,
        window_seconds=WINDOW_SECONDS,
        quality=FINITE_ONLY,
        reader=tuh.read_referential,
        provenance=f"TUH Abnormal EEG Corpus (TUAB), training subjects split by {by}",
    )


def _subject(path: Path) -> str:
    """Returns the subject of a file such as aaaaaaaq_s004_t000.edf."""
    return path.stem.partition("_")[0]


def _splits(files: dict[Path, tuple[str, int]], by: str, options: PrepareOptions) -> dict[tuple[str, int], str]:
    """Returns the split of every training (subject, label)."""
    labels: dict[str, set[int]] = {}
    for path, (part, label) in files.items():
        if part == "train":
            labels.setdefault(_subject(path), set()).add(label)
    shares = tuh.fractions(options, "tuab")
    if not labels:
        return {}
    if by == "subject":
        profiles = {subject: tuple(sorted(own)) for subject, own in labels.items()}
        splits = split_subjects(profiles, shares, options.seed)
        return {(subject, label): splits[subject] for subject, own in labels.items() for label in own}
    return {
        (subject, label): split
        for label in range(len(CLASSES))
        if (own := [subject for subject, found in labels.items() if label in found])
        for subject, split in split_subjects(dict.fromkeys(own), shares, options.seed + label).items()
    }
