"""Names that count contacts of depth electrodes and grids, or sockets of a cap, and only look like electrodes.

`F3` is an electrode of the 10-20 system and the third contact of a depth electrode F; `A1` is an ear, a contact, and
the first socket of a BioSemi cap. Which of them is meant is seen from the whole list of names alone.
"""

import re
from collections.abc import Collection, Iterable, Mapping

# A letter or more, also primed as depth electrodes of one side are, and a number; no letter at all: 1, 2, 3, ...
_NUMBERED = re.compile(r"([A-Z]{0,4}['’`]?)(\d{1,3})")
# What recorders number beside the EEG, and rows of the 10-5 system without a place in the vocabulary.
_NO_CONTACTS = frozenset(
    {
        *("EXG", "EOG", "EMG", "ECG", "EKG", "DC", "X", "CH", "AUX", "BIP", "MISC", "STI", "TRIG", "RESP", "GSR", "BN"),
        *("V", "NFP", "AFP", "AFF", "FFT", "FFC", "FTT", "FCC", "TTP", "TPP", "CPP", "PPO", "POO", "OI", "I"),
    }
)
# So many numbers of letters outside of the vocabulary are a series.
_SERIES = 4
# No cap numbers electrodes of a row beyond this.
_LAST_OF_A_ROW = 12

# The numbers that the letters have in 10-20 recordings, with the ears and the row below that of T7.
_TEN_TWENTY: Mapping[str, frozenset[int]] = {
    "FP": frozenset({1, 2}),
    "F": frozenset({3, 4, 7, 8, 9, 10}),
    "C": frozenset({3, 4}),
    "T": frozenset(range(1, 11)),
    "P": frozenset({3, 4, 7, 8, 9, 10}),
    "O": frozenset({1, 2}),
    "A": frozenset({1, 2}),
    "M": frozenset({1, 2}),
    "FT": frozenset({9, 10}),
    "TP": frozenset({9, 10}),
}
# Rows between those of the 10-20 system: a cap has them, and names in the middle (FZ, CZ, ...).
_ROWS_BETWEEN = ("AF", "FC", "CP", "PO")
_MIDDLE = frozenset({"FPZ", "AFZ", "FZ", "FCZ", "CZ", "CPZ", "PZ", "POZ", "OZ"})
# Rows that are counted up to here without a gap, in a list without a name in the middle, are depth electrodes.
_COUNTED_ROWS = {"T": 3, "F": 7, "P": 7, "AF": 7, "PO": 7}

# Caps by the banks that BioSemi counts its sockets in, 32 each, and by the highest number of an EGI net.
_BIOSEMI_BANKS = {
    "A": "biosemi32",
    "AB": "biosemi64",
    "ABCD": "biosemi128",
    "ABCDE": "biosemi160",
    "ABCDEFGH": "biosemi256",
}
_EGI_NETS = {
    32: "GSN-HydroCel-32",
    33: "GSN-HydroCel-32",
    64: "GSN-HydroCel-64_1.0",
    65: "GSN-HydroCel-65_1.0",
    128: "GSN-HydroCel-128",
    129: "GSN-HydroCel-129",
    256: "GSN-HydroCel-256",
    257: "GSN-HydroCel-257",
}


class NumberedContacts:
    """Which letters of a recording's names count contacts or sockets.

    `names` are stripped and in upper case, `vocabulary` are the names of electrodes, so too. A letter is a series

    - where its numbers leave the vocabulary (A1 to A32, C1 to C48), unless they are the odd row or two that caps have
      below the usual ones, or where it is not in the vocabulary at all and has four numbers (B1 to B10, LA1 to LA8);
    - beside such a series, where it has other numbers than in 10-20 recordings (F1 to F10 beside A1 to A10), or one of
      them twice, unless the list has the rows and the middle of a whole cap;
    - in a list without FZ, CZ, PZ, ..., where two or more letters count from 1 as no cap does (F1 to F10, T1 to T10).
    """

    def __init__(self, names: Iterable[str], vocabulary: Collection[str]):
        names = list(names)
        self._numbers: dict[str, list[int]] = {}
        for name in names:
            if match := _NUMBERED.fullmatch(name):
                self._numbers.setdefault(match[1], []).append(int(match[2]))
        rows = {match[1] for name in vocabulary if (match := _NUMBERED.fullmatch(name))}
        middle = len(_MIDDLE & set(names))
        whole_cap = middle >= 2 and sum(row in self._numbers for row in _ROWS_BETWEEN) >= 2

        self._series = {
            letters
            for letters, numbers in self._numbers.items()
            if (letters not in rows and letters not in _NO_CONTACTS and len(set(numbers)) >= _SERIES)
            or (letters in rows and _leaves(letters, numbers, vocabulary, whole_cap))
        }
        if not middle and "FP1" not in names:
            counted = {row for row, least in _COUNTED_ROWS.items() if _counts_to(self._numbers.get(row, ())) >= least}
            self._series |= counted if len(counted) > 1 else set()
        # A list that only numbers its channels says nothing of what bears letters.
        if self._series - {""} and not whole_cap:
            scalp = [name for name in (*_MIDDLE, "FP1", "F7") if name in names]
            self._series |= {
                letters
                for letters, numbers in self._numbers.items()
                if letters in rows and not _as_in_ten_twenty(letters, numbers, scalp)
            }

    def __contains__(self, name: str) -> bool:
        match = _NUMBERED.fullmatch(name)
        return match is not None and match[1] in self._series

    def reason(self, channel: str, name: str) -> str:
        """Says of a channel, whose stripped name is in a series, why it is no electrode and what to do."""
        letters = _NUMBERED.fullmatch(name)[1]
        numbers = self._numbers[letters]
        cap = self._cap(letters)
        return (
            f"{channel!r} is one of {letters}{min(numbers)} to {letters}{max(numbers)}, which number the contacts of a "
            "depth electrode or grid, or the sockets of a cap: it is no scalp electrode by its name. Say what each "
            f"stands for (--rename FILE), or name the cap (--montage {f'{cap}, if it is this one' if cap else 'NAME'})."
        )

    def _cap(self, letters: str) -> str | None:
        """The cap whose sockets have these names, where all are there."""
        whole = {one for one, numbers in self._numbers.items() if set(numbers) == set(range(1, 33))}
        banks = "".join(sorted(one for one in self._series if len(one) == 1 and one in "ABCDEFGH"))
        if letters and letters in banks:
            if banks in _BIOSEMI_BANKS and whole >= set(banks):
                return _BIOSEMI_BANKS[banks]
            if banks == "A" and set(self._numbers["A"]) == set(range(1, 17)):
                return "biosemi16"
        if letters in ("", "E") and _counts_to(self._numbers[letters]) == max(self._numbers[letters]):
            return _EGI_NETS.get(max(self._numbers[letters]))
        return None


def _leaves(letters: str, numbers: Collection[int], vocabulary: Collection[str], whole_cap: bool) -> bool:
    """Whether a row of the vocabulary has numbers that the vocabulary lacks."""
    outside = [number for number in numbers if f"{letters}{number}" not in vocabulary]
    return bool(outside) and not (whole_cap and max(outside) <= _LAST_OF_A_ROW)


def _counts_to(numbers: Collection[int]) -> int:
    """How far 1, 2, 3, ... goes without a gap."""
    return next(number for number in range(len(numbers) + 1) if number + 1 not in numbers)


def _as_in_ten_twenty(letters: str, numbers: Collection[int], scalp: Collection[str]) -> bool:
    """Whether a row beside a series is that of a 10-20 recording: each number once, and none that such a row lacks.

    `scalp` are names in the list that no contact has: without one, also O1 and O2 may be contacts, while C3 and C4
    begin as no contacts do. Old 10-20 recordings have all of T1 to T6, and FP1 and F7 as well.
    """
    if letters == "T" and min(numbers) < 3 and (_counts_to(numbers) > 6 or not {"FP1", "F7"} <= set(scalp)):
        return False
    if len(set(numbers)) < len(numbers) or not set(numbers) <= _TEN_TWENTY.get(letters, frozenset()):
        return False
    return min(numbers) > 2 or bool(set(scalp) - {"F7"})
