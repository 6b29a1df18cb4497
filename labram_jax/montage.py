"""The electrode vocabulary: official names, their rows in the electrode embedding, and the usual spellings.

A name is judged in this order: what recorders and readers put around it is stripped (blanks and NULs, `EEG ` and
`POL `, MNE's `-0` of doubles, trailing dots, the reference), then it is looked up. Names of a whole recording are
judged together, since a reference that nobody knows is seen from all of them, and so are numbered contacts.
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from labram_jax.contacts import NumberedContacts
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
    *("REF", "REFERENCE", "VREF", "LE", "LER", "LINKED", "AVG", "AVE", "AV", "AVERAGE", "AVGREF", "AR", "CAR", "AA"),
    *("CLE", "CMS", "G2", "NOSE", "NZ", "A1A2", "A1+A2", "(A1+A2)/2", "A12", "M1M2", "M1+M2", "(M1+M2)/2", "LM", "LMA"),
}
# Electrodes that have to share an electrode, or any other text, before it is their reference.
_SHARING_AN_ELECTRODE, _SHARING_A_TEXT = 4, 2
_PREFIX = re.compile(r"^(?:(?:EEG|POL)[\s:_-]+)+")
_DOUBLE = re.compile(r"-(\d{1,2})$")
_PAIR = re.compile(r"([^-\u2013:_/\s]+)(?:\s*[-\u2013:_/]\s*|\s+)(\S.*)")


class KnownElectrodes(NamedTuple):
    """Channel names split into `usable` {name: electrode} and `unusable` {name: reason}, each in the given order."""

    usable: dict[str, str]
    unusable: dict[str, str]


class Spelling(NamedTuple):
    """A channel's name in upper case without what stands around it: its first part, and what follows the dash."""

    electrode: str
    reference: str

    @property
    def pair(self) -> str:
        return f"{self.electrode}-{self.reference}"


def spellings(names: Sequence[str]) -> list[Spelling]:
    """Returns the names of a recording stripped of prefixes, blanks, NULs, dots, and MNE's numbers of doubles."""
    plain = [name.replace("\0", " ").strip() for name in names]
    return [_spelling(name, plain) for name in plain]


def normalise(name: str) -> str:
    """Returns the official name of an electrode in any usual spelling (`EEG FP1-REF`, `Fp1-0`, `Fc5.`, `fp1-A2`).

    A dash followed by a usual reference (REF, LE, AVG, an ear or a mastoid, ...) is dropped. A dash between two
    electrodes is a bipolar derivation: refused, except for the eight that have rows (`FP1-F7` ... `P8-O2`).
    Raises InputError for a bipolar derivation, an unusable name, or an unknown one (with near matches).
    """
    if not isinstance(name, str):
        raise InputError(f"{name!r} is no name of an electrode: give text, such as 'FP1'.")
    return _electrode(name, *spellings([name]))


def ordered(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names in their order, from a list, a tuple or an array.

    Raises InputError for one text, for a set (which has no order), and for what is not a list of texts.
    """
    if isinstance(names, str):
        raise InputError(f"The electrodes are one text, {names!r}: give a list of names.")
    if isinstance(names, (set, frozenset)):
        raise InputError("The electrodes are a set, which has no order: give a list of names in the signal's order.")
    if isinstance(names, Mapping) or not hasattr(names, "__len__") or getattr(names, "ndim", 1) != 1:
        raise InputError(f"The electrodes are no list of names but {type(names).__name__}: give a list of names.")
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise InputError(f"The list of electrodes holds {odd[0]!r}, which is no text: give names, such as 'FP1'.")
    return tuple(str(name) for name in names)


def electrode_id(name: str, aliases: Mapping[str, str] | None = None) -> int:
    """Returns the row of the electrode embedding (1 to 128) of an electrode in any usual spelling."""
    return _ROWS[_rename(normalise(name), aliases)]


def electrode_ids(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> Int32[np.ndarray, "C"]:
    """Returns the rows of the electrode embedding for a montage, in its order.

    `aliases` maps official names to official names (`OLD_TO_NEW`, `NEW_TO_OLD`). Raises InputError for an empty
    montage, a set, an unknown or unusable name, and two names of one electrode.
    """
    names = ordered(names)
    if not names:
        raise InputError("The list of electrodes is empty: give at least one name.")
    spelt = spellings(names)
    common = common_reference(spelt)
    electrodes = [
        _rename(_electrode(name, spelling, common), aliases) for name, spelling in zip(names, spelt, strict=True)
    ]
    first: dict[str, str] = {}
    for electrode, name in zip(electrodes, names, strict=True):
        if electrode in first:
            raise InputError(
                f"{first[electrode]!r} and {name!r} are both electrode {electrode}: give every electrode once."
            )
        first[electrode] = name
    return np.asarray([_ROWS[electrode] for electrode in electrodes], dtype=np.int32)


def known(names: Sequence[str], aliases: Mapping[str, str] | None = None) -> KnownElectrodes:
    """Splits the channel names of a recording into electrodes that the model has rows for and the rest, with reasons.

    Of two names of one electrode the first is taken. Names such as A1 or C3 that only count contacts of depth
    electrodes, of grids, or sockets of a cap (`labram_jax.contacts`) are refused.
    """
    spelt = spellings(names)
    common = common_reference(spelt)
    series = NumberedContacts((spelling.electrode for spelling in spelt), _CANONICAL)
    usable: dict[str, str] = {}
    unusable: dict[str, str] = {}
    taken: dict[str, str] = {}
    for name, spelling in zip(names, spelt, strict=True):
        try:
            if spelling.electrode in series:
                raise InputError(series.reason(name, spelling.electrode))
            electrode = _rename(_electrode(name, spelling, common), aliases)
            if electrode in taken:
                raise InputError(f"{name!r} is electrode {electrode} again, which {taken[electrode]!r} already gives.")
        except InputError as error:
            unusable[name] = str(error)
        else:
            usable[name] = electrode
            taken[electrode] = name
    return KnownElectrodes(usable, unusable)


def common_reference(spelt: Sequence[Spelling]) -> str | None:
    """Returns what follows the dash in all names of a recording's electrodes, where that is no usual reference.

    In `Fp1-CPz`, `F3-CPz`, `O2-CPz`, ... it is CPZ. A list of bipolar derivations has none, and neither do two or
    three channels that share an electrode: these may be bipolar as well.
    """
    electrodes = [spelling for spelling in spelt if spelling.electrode in _CANONICAL]
    judged = [one for one in electrodes if one.reference and one.reference not in _REFERENCES]
    found = {one.reference for one in judged}
    if len(found) != 1 or (reference := found.pop()).isdigit():
        return None
    sharing = {one.electrode for one in judged}
    if reference not in _CANONICAL:
        return reference if len(sharing) >= _SHARING_A_TEXT else None
    others = {one.electrode for one in electrodes} - sharing - _EARS - {reference}
    return reference if len(sharing) >= _SHARING_AN_ELECTRODE and not others else None


def near_matches(name: str) -> str:
    """Returns "; near matches: ..." for a name that is no electrode, or nothing where none is near."""
    near = difflib.get_close_matches(name.upper(), _CANONICAL, n=3)
    return f"; near matches: {', '.join(_CANONICAL[match] for match in near)}" if near else ""


def check_seconds(seconds: float, most: float = MAX_SECONDS) -> int:
    """Returns the length of a window as a whole number of seconds; raises InputError unless it is 1 to 16 (`most`)."""
    if seconds != int(seconds) or not 1 <= seconds <= most:
        raise InputError(
            f"A window of {seconds:g} seconds cannot be used: the model takes whole seconds, 1 to {MAX_SECONDS}; "
            "cut the signal into shorter windows."
        )
    return int(seconds)


def _spelling(name: str, names: Collection[str]) -> Spelling:
    """Strips a name; `-1` is MNE's number of a double only beside `-0`, since contacts have such names as well."""
    double = _DOUBLE.search(name)
    if double and (int(double[1]) == 0 or f"{name[: double.start()]}-0" in names):
        name = name[: double.start()]
    name = _PREFIX.sub("", name.upper()).strip(". ")
    parts = _PAIR.fullmatch(name)
    if parts is None:
        return Spelling(name, "")
    return Spelling(parts[1].rstrip("."), re.sub(r"\s", "", parts[2]))


def _electrode(name: str, spelling: Spelling, common: str | None = None) -> str:
    """Returns the electrode of a stripped name; `common` is a reference that all names of its recording share."""
    electrode, reference = spelling
    if reference and reference != common and spelling.pair in _CANONICAL:
        return _usable(_CANONICAL[spelling.pair], name)
    if electrode not in _CANONICAL:
        raise InputError(f"{name!r} is not an electrode of the vocabulary{near_matches(electrode)}.")
    # One ear against the other is no electrode's signal, though either may serve as a reference.
    ears = electrode in _EARS and reference in _EARS
    if electrode == reference or ears or (reference in _CANONICAL.keys() - _REFERENCES and reference != common):
        raise InputError(
            f"{name!r} is a bipolar derivation ({electrode} against {reference}): "
            "record or re-reference it against a common reference."
        )
    if reference and reference not in _REFERENCES and reference != common:
        raise InputError(
            f"{name!r} is not an electrode of the vocabulary: {reference} is neither a usual reference nor common to "
            "the electrodes of its recording; say what the channel stands for (--rename FILE)."
        )
    return _usable(_CANONICAL[electrode], name)


def _rename(electrode: str, aliases: Mapping[str, str] | None) -> str:
    return normalise(aliases[electrode]) if aliases and electrode in aliases else electrode


def _usable(electrode: str, name: str) -> str:
    if _ROWS[electrode] > USABLE:
        raise InputError(
            f"{name!r} is in the official vocabulary but the embedding has no row for it "
            f"(name {_ROWS[electrode]} of {len(ELECTRODES)}, rows for {USABLE}): leave it out."
        )
    return electrode
