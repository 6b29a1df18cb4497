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

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from labram_jax.data.schema import FINITE_ONLY
from labram_jax.data_prep.corpora import tuh
from labram_jax.data_prep.sources.files import recording_name
from labram_jax.data_prep.table import CorpusTable, Span, Split, rows_of, split_subjects
from labram_jax.errors import InputError

SOURCE = "the folder of TUAB, which holds edf/train and edf/eval"
CLASSES = ("normal", "abnormal")
WINDOW_SECONDS = 10


@dataclass(frozen=True)
class Options(tuh.TuhOptions):
    """What may be asked for when preparing TUAB."""

    split_by: Literal["subject", "official"] = "subject"
    """Whole subjects to train or validation, or as the official script does, which may send one to both."""


def table(source: Path | None, options: Options) -> CorpusTable:
    """Returns the table of TUAB, or of those of its recordings that the folder holds.

    Raises:
      InputError: the folder is not laid out as TUAB, or holds no recording.
    """
    root = tuh.edf_folder(source, "tuab", SOURCE)
    spans, unusable = [], []
    for split in ("train", "eval"):
        for label, name in enumerate(CLASSES):
            for path in tuh.find_edf(root / split / name, unusable):
                subject = path.stem.partition("_")[0]  # of a file such as aaaaaaaq_s004_t000.edf
                own = "test" if split == "eval" else None
                spans.append(Span(path, recording_name(path, root), subject, own, label))
    if not spans and not unusable:
        raise InputError(f"{root} holds no {{train,eval}}/{{normal,abnormal}}/**/*.edf; give the folder of TUAB.")
    split = options.split("subject", options.fractions)
    if options.split_by == "official":
        spans, split = _official(spans, options), Split("given", allow_shared_subjects=True)
    return CorpusTable(
        "tuab",
        rows_of(spans),
        split,
        options.recipe(electrodes=tuh.ELECTRODES, quality=FINITE_ONLY, open=tuh.open_referential),
        CLASSES,
        WINDOW_SECONDS,
        tuple(unusable),
        f"TUH Abnormal EEG Corpus (TUAB), training subjects split by {options.split_by}",
    )


def _official(spans: Sequence[Span], options: Options) -> list[Span]:
    """Shares out the training subjects of each class by themselves."""
    splits: dict[tuple[str | None, int], str] = {}
    for label in range(len(CLASSES)):
        own = [span.subject for span in spans if span.split is None and span.label == label]
        found = split_subjects(dict.fromkeys(own), options.fractions, options.seed + label) if own else {}
        splits |= {(subject, label): split for subject, split in found.items()}
    return [span._replace(split=span.split or splits[span.subject, span.label]) for span in spans]
