"""What TUAB and TUEV, both of the Temple University Hospital EEG Corpus, have in common.

Had from https://isip.piconepress.com/projects/nedc/html/tuh_eeg/ after registration. Cite Obeid I, Picone J. The Temple
University Hospital EEG Data Corpus. Front Neurosci 2016;10:196.

The published protocol takes 23 electrodes in a fixed order, recorded against an average reference (channels named
`EEG FP1-REF`). A recording that lacks one of them is refused, and so is one against linked ears (`EEG FP1-LE`): its
electrodes have the same names, but another reference and so other signals.
"""

from dataclasses import dataclass
from pathlib import Path

from labram_jax.data_prep.options import RecordingOptions, SplitOptions
from labram_jax.data_prep.readers.reader import Reader
from labram_jax.data_prep.readers.recording import open_recording
from labram_jax.data_prep.sources.files import Unusable, existing_folder, find_files
from labram_jax.data_prep.table import Fractions
from labram_jax.errors import InputError

# fmt: off
ELECTRODES = (
    "FP1", "FP2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2", "F7", "F8",
    "T3", "T4", "T5", "T6", "A1", "A2", "FZ", "CZ", "PZ", "T1", "T2",
)
# fmt: on


@dataclass(frozen=True)
class TuhOptions(SplitOptions, RecordingOptions):
    """What may be asked for when preparing TUAB or TUEV."""

    fractions: Fractions = (0.8, 0.2, 0.0)
    """Shares of the official training subjects that train and validate; none may be sent to the test set, which is the
    official one."""

    def __post_init__(self):
        super().__post_init__()
        if self.fractions[2] > 0:
            raise InputError(
                "This corpus has its own test recordings (eval); give fractions that end with 0, such as 0.8 0.2 0."
            )


def edf_folder(source: Path | None, corpus: str, what: str) -> Path:
    """Returns the folder that holds `train` and `eval`: SOURCE/edf or SOURCE itself.

    Raises:
      InputError: neither has one of them.
    """
    root = existing_folder(source, corpus, what)
    for folder in (root / "edf", root):
        if any((folder / part).is_dir() for part in ("train", "eval")):
            return folder
    raise InputError(f"{root} holds neither edf/train nor edf/eval; give {what}.")


def find_edf(folder: Path, unusable: list[Unusable]) -> list[Path]:
    """Returns the recordings of a folder, which may be absent, and adds what cannot be one to `unusable`."""
    paths, refused = find_files(folder, (".edf",)) if folder.is_dir() else ([], [])
    unusable += refused
    return paths


def open_referential(path: Path, part: str = "", unit: str | None = None) -> Reader:
    """Opens a recording, if it is against the average reference (REF).

    Raises:
      InputError: the file cannot be read, or it was recorded against linked ears (LE).
    """
    reader = open_recording(path, part, unit)
    if any(name.upper().endswith("-LE") for name in (*reader.header.channels, *reader.header.others)):
        raise InputError(
            f"{path} was recorded against linked ears (-LE); the protocol takes the -REF recordings alone."
        )
    return reader
