"""Units of voltage: how files spell them, and how many microvolts they are."""

from types import MappingProxyType

from labram_jax.errors import InputError

# In microvolts; these are also the words of `--unit`.
UNITS = MappingProxyType({"uV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3})

# The sign for micro in Latin-1 and Greek, in UTF-8 read as Latin-1, and in Shift JIS read as Latin-1.
_MICRO = ("\u00b5", "\u03bc", "\u00c2\u00b5", "\u00ce\u00bc", "\x83\xca")
_SPELLINGS = {
    **dict.fromkeys(("uv", "uvolt", "uvolts", "microv", "microvolt", "microvolts"), UNITS["uV"]),
    **dict.fromkeys(("mv", "mvolt", "mvolts", "milliv", "millivolt", "millivolts"), UNITS["mV"]),
    **dict.fromkeys(("v", "volt", "volts"), UNITS["V"]),
    **dict.fromkeys(("nv", "nvolt", "nvolts", "nanov", "nanovolt", "nanovolts"), UNITS["nV"]),
}
# What stands in the field of a unit that nobody filled in, or whose micro was lost.
_NOTHING = frozenset(("", "-", "--", "?", "?v", "1", "n/a", "na", "none", "nil", "unknown", "undefined", "unspecified"))
_NOTHING |= frozenset(("au", "a.u.", "a/d", "digital", "count", "counts", "raw", "int", "unit", "units"))


def check_unit(unit: str | None) -> None:
    """Raises InputError for a unit that `--unit` does not know."""
    if unit is not None and unit not in UNITS:
        raise InputError(f"The unit {unit!r} is unknown: give one of {', '.join(UNITS)}.")


def plain(text: str) -> str:
    """Returns the text of a unit without padding, in lower case, and with `u` for micro."""
    text = text.split("\0")[0].strip()
    for sign in sorted(_MICRO, key=len, reverse=True):
        text = text.replace(sign, "u")
    return text.lower()


def states_no_unit(text: str) -> bool:
    """Whether the field of a unit says nothing."""
    return plain(text) in _NOTHING


def microvolts_per(text: str) -> float | None:
    """Returns how many microvolts a unit is, in any usual spelling; None where it is no voltage or says nothing."""
    return _SPELLINGS.get(plain(text))


def spelling_of(microvolts: float) -> str:
    """Returns the usual spelling of the unit of so many microvolts."""
    return next(name for name, value in UNITS.items() if value == microvolts)
