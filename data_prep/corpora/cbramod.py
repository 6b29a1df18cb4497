"""The splits of CBraMod, each by whole subjects in the order of their numbers.

Wang J, Zhao S, Luo Z, et al. CBraMod: A Criss-Cross Brain Foundation Model for EEG Decoding. ICLR 2025 (arXiv
2412.07236); the numbers are those that its preprocessing code takes from the sorted names of files and folders.
"""

from collections.abc import Mapping
from types import MappingProxyType

from labram_jax.data_prep.table import Fractions
from labram_jax.errors import InputError

Numbers = Mapping[str, range]

EEGMAT: Numbers = MappingProxyType({"train": range(28), "validation": range(28, 32), "test": range(32, 36)})
EEGMMIDB: Numbers = MappingProxyType({"train": range(1, 71), "validation": range(71, 90), "test": range(90, 110)})


def split_of(number: int, numbers: Numbers) -> str:
    """Returns the split that the subject of this number is in.

    Raises:
      InputError: the corpus has no subject of this number.
    """
    for split, own in numbers.items():
        if number in own:
            return split
    raise InputError(f"CBraMod's split knows no subject {number}: leave its recordings out, or split by subject.")


def check_fractions(split_by: str, fractions: Fractions | None) -> None:
    """Raises InputError where shares are given for a split that has its own."""
    if split_by == "cbramod" and fractions is not None:
        raise InputError(f"fractions = {fractions}, but the split of CBraMod names its subjects: leave fractions out.")
