"""What TUAB and TUEV, both of the Temple University Hospital EEG Corpus, have in common.

Had from https://isip.piconepress.com/projects/nedc/html/tuh_eeg/ after registration. Cite Obeid I, Picone J. The Temple
University Hospital EEG Data Corpus. Front Neurosci 2016;10:196.

The published protocol takes 23 electrodes in a fixed order, recorded against an average reference (channels named
`EEG FP1-REF`). A recording that lacks one of them is refused, and so is one against linked ears (`EEG FP1-LE`): its
electrodes have the same names, but another reference and so other signals.
"""

from pathlib import Path

import mne

from data_prep.corpora.sources import existing_folder
from data_prep.corpora.splits import Fractions
from data_prep.options import PrepareOptions
from data_prep.recording import read
from labram_jax.errors import InputError

# fmt: off
ELECTRODES = (
    "FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8",
    "T3", "T4", "T5", "T6", "A1", "A2", "FZ", "CZ", "PZ", "T1", "T2",
)
# fmt: on
# The official evaluation recordings are the test set; the others are shared out.
FRACTIONS = (0.8, 0.2, 0.0)


def edf_folder(source: Path | None, corpus: str) -> Path:
    """Returns the folder that holds `train` and `eval`: SOURCE/edf or SOURCE itself.

    Raises:
      InputError: neither has one of them.
    """
    root = existing_folder(source, corpus)
    for folder in (root / "edf", root):
        if any((folder / part).is_dir() for part in ("train", "eval")):
            return folder
    raise InputError(f"{root} holds neither edf/train nor edf/eval; give the folder of {corpus} that holds edf.")


def fractions(options: PrepareOptions, corpus: str) -> Fractions:
    """Returns how the official training subjects are shared out; none may be sent to the test set."""
    chosen = options.fractions or FRACTIONS
    if chosen[2] > 0:
        raise InputError(
            f"{corpus} has its own test recordings (eval); give fractions that end with 0, such as 0.8 0.2 0."
        )
    return chosen


def read_referential(path: Path, group: str | None = None) -> mne.io.BaseRaw:
    """Returns a recording, if it is against the average reference (REF).

    Raises:
      InputError: the file cannot be read, or it was recorded against linked ears (LE).
    """
    raw = read(path, group)
    if any(name.upper().endswith("-LE") for name in raw.ch_names):
        raise InputError(
            f"{path} was recorded against linked ears (-LE); the protocol takes the -REF recordings alone."
        )
    return raw
