"""The electrode vocabulary: official names, their rows in the electrode embedding, and the usual spellings."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from labram_jax.errors import InputError

# The order is the embedding's: ELECTRODES[i] has row i + 1, and row 0 is the class token's.
# fmt: off
ELECTRODES = (
    "FP1", "FPZ", "FP2", "AF9", "AF7", "AF5", "AF3", "AF1", "AFZ", "AF2", "AF4", "AF6", "AF8", "AF10",
    "F9", "F7", "F5", "F3", "F1", "FZ", "F2", "F4", "F6", "F8", "F10",
    "FT9", "FT7", "FC5", "FC3", "FC1", "FCZ", "FC2", "FC4", "FC6", "FT8", "FT10",
    "T9", "T7", "C5", "C3", "C1", "CZ", "C2", "C4", "C6", "T8", "T10",
    "TP9", "TP7", "CP5", "CP3", "CP1", "CPZ", "CP2", "CP4", "CP6", "TP8", "TP10",
    "P9", "P7", "P5", "P3", "P1", "PZ", "P2", "P4", "P6", "P8", "P10",
    "PO9", "PO7", "PO5", "PO3", "PO1", "POZ", "PO2", "PO4", "PO6", "PO8", "PO10",
    "O1", "OZ", "O2", "O9", "CB1", "CB2", "IZ", "O10",
    "T3", "T5", "T4", "T6", "M1", "M2", "A1", "A2",
    "CFC1", "CFC2", "CFC3", "CFC4", "CFC5", "CFC6", "CFC7", "CFC8", "CCP1", "CCP2", "CCP3", "CCP4", "CCP5",
    "CCP6", "CCP7", "CCP8",
    "T1", "T2", "FTT9h", "TTP7h", "TPP9h", "FTT10h", "TPP8h", "TPP10h",
    "FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP2-F8", "F8-T8", "T8-P8", "P8-O2",
    "FP1-F3", "F3-C3", "C3-P3", "P3-O1", "FP2-F4", "F4-C4", "C4-P4", "P4-O2",
)
# fmt: on
# The embedding has 129 rows, so the last 8 of the 136 names have none.
USABLE = 128
# The time embedding has 16 rows of one second each.
MAX_SECONDS = 16

# Older names of four places. The reference gives each its own row, so they are merged only on request.
OLD_TO_NEW = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
NEW_TO_OLD = {new: old for old, new in OLD_TO_NEW.items()}

_CANONICAL = {name.upper(): name for name in ELECTRODES}
_ROWS = {name: index + 1 for index, name in enumerate(ELECTRODES)}
_EARS = frozenset({"A1", "A2", "M1", "M2"})
# What may stand after the dash of a referential recording: one reference common to all electrodes.
_REFERENCES = _EARS | {
    *("REF", "REFERENCE", "LE", "LER", "LINKED", "AVG", "AVE", "AV", "AVERAGE", "AR", "CAR", "NOSE", "NZ"),
    *("A1A2", "A1+A2", "(A1+A2)/2", "A12", "M1M2", "M1+M2", "(M1+M2)/2", "LM", "LMA"),
}
_PREFIX = re.compile(r"^(?:EEG|POL)[\s:_-]+", re.IGNORECASE)
_GRID = re.compile(r"^[A-H]\d{1,2}$")


class KnownElectrodes(NamedTuple):
    """Channel names split into `usable` {name: electrode} and `unusable` {name: reason}, each in the given order."""

    usable: dict[str, str]
    unusable: dict[str, str]


def normalise(name: str) -> str:
    """Returns the official name of an electrode in any usual spelling (`EEG FP1-REF`, `Fp1`, `Fc5.`, `fp1-A2`).

    A dash followed by a common reference (REF, LE, AVG, an ear or a mastoid, ...) is dropped. A dash between two
    electrodes is a bipolar derivation: refused, except for the eight that have rows (`FP1-F7` ... `P8-O2`).
    Raises InputError for a bipolar derivation, an unusable name, or an unknown one (with near matches).
    """
    spelling = _PREFIX.sub("", name.strip()).rstrip(".").strip().upper()
    if spelling in _CANONICAL:
        return _usable(_CANONICAL[spelling], name)
    electrode, dash, reference = (part.strip() for part in spelling.partition("-"))
    if dash and electrode in _CANONICAL:
        # One ear against the other is no electrode's signal, though either may serve as a reference.
        if (electrode in _EARS and reference in _EARS) or reference in _CANONICAL.keys() - _REFERENCES:
            raise InputError(
                f"{name!r} is a bipolar derivation ({electrode} against {reference}): "
                "record or re-reference it against a common reference."
            )
        if reference in _REFERENCES:
            return _usable(_CANONICAL[electrode], name)
    near = difflib.get_close_matches(electrode, _CANONICAL, n=3)
    hint = f"; near matches: {', '.join(_CANONICAL[match] for match in near)}" if near else ""
    raise InputError(f"{name!r} is not an electrode of the vocabulary{hint}.")


def electrode_id(name: str, aliases: Mapping[str, str] | None = None) -> int:
    """Returns the row of the electrode embedding (1 to 128) of an electrode in any usual spelling."""
    return _ROWS[_rename(normalise(name), aliases)]


def electrode_ids(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> Int32[np.ndarray, "C"]:
    """Returns the rows of the electrode embedding for a montage, in its order.

    `aliases` maps official names to official names (`OLD_TO_NEW`, `NEW_TO_OLD`). Raises InputError for an empty
    montage, an unknown or unusable name, and two names of one electrode.
    """
    if isinstance(names, str):
        raise InputError(f"The electrodes are one text, {names!r}: give a list of names.")
    if not names:
        raise InputError("The list of electrodes is empty: give at least one name.")
    ids = [electrode_id(name, aliases) for name in names]
    first: dict[int, str] = {}
    for row, name in zip(ids, names, strict=True):
        if row in first:
            raise InputError(
                f"{first[row]!r} and {name!r} are both electrode {ELECTRODES[row - 1]}: give every electrode once."
            )
        first[row] = name
    return np.asarray(ids, dtype=np.int32)


def known(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> KnownElectrodes:
    """Splits the channel names of a recording into electrodes that the model has rows for and the rest, with reasons.

    Of two names of one electrode the first is taken. Names such as A1 or C3 of a cap that counts its sockets
    (A1..A32, B1..B32, ...) only look like electrodes and are refused.
    """
    upper = {name.strip().upper() for name in names}
    counted = {"A3", "A4", "B1", "B2"} <= upper
    usable: dict[str, str] = {}
    unusable: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name in names:
        try:
            if counted and _GRID.match(name.strip().upper()):
                raise InputError(f"{name!r} counts a socket of the cap (A1, A2, ... B1, ...), it is no 10-20 name.")
            electrode = _rename(normalise(name), aliases)
            if electrode in taken:
                raise InputError(f"{name!r} is electrode {electrode} again, which {taken[electrode]!r} already gives.")
        except InputError as error:
            unusable[name] = str(error)
        else:
            usable[name] = electrode
            taken[electrode] = name
    return KnownElectrodes(usable, unusable)


def check_seconds(seconds: float) -> int:
    """Returns the length of a window as a whole number of seconds; raises InputError unless it is 1 to 16."""
    if seconds != int(seconds) or not 1 <= seconds <= MAX_SECONDS:
        raise InputError(
            f"A window of {seconds:g} seconds cannot be used: the model takes whole seconds, 1 to {MAX_SECONDS}; "
            "cut the signal into shorter windows."
        )
    return int(seconds)


def _rename(electrode: str, aliases: Mapping[str, str] | None) -> str:
    return normalise(aliases[electrode]) if aliases and electrode in aliases else electrode


def _usable(electrode: str, name: str) -> str:
    if _ROWS[electrode] > USABLE:
        raise InputError(
            f"{name!r} is in the official vocabulary but the embedding has no row for it "
            f"(name {_ROWS[electrode]} of {len(ELECTRODES)}, rows for {USABLE}): leave it out."
        )
    return electrode
