"""Caps whose sockets have names of their own reach the electrodes of the vocabulary by their positions.

Either each socket stands for the electrode nearest to it, or electrodes are interpolated from all sockets. Neither is
done unless asked for, and both tell the distances.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from labram_jax.data_prep.cleaning.positions import Template, millimetres, spline_matrix, template
from labram_jax.data_prep.recipe import Cap
from labram_jax.errors import InputError
from labram_jax.montage import known, spellings

# An electrode is interpolated only where a good socket is no farther: half the spacing of a cap of sixteen.
REACH_MM = 40.0
# BioSemi counts the sockets of these caps (A1 ... A32, B1 ... B32) in the order in which MNE's montages have them,
# which call them by their 10-20 names.
_COUNTED_BY_BIOSEMI = ("biosemi16", "biosemi32", "biosemi64")
_BIOSEMI_BANKS, _BANK = "ABCDEFGH", 32
_NUMBERED = re.compile(r"([A-Z]*)0*(\d{1,3})")
# What recorders write before the number of a socket of EGI's nets, and of other caps without banks.
_ANY_BANK = frozenset({"", "E", "EEG", "CH", "CHAN", "CHANNEL"})
_VERTEX = ("VREF", "VERTEX", "REF")


class _Naming(NamedTuple):
    """One way to name the sockets of a cap: {name: socket in the montage}, and the letters that its numbers follow."""

    sockets: dict[str, str]
    banks: frozenset[str]

    @classmethod
    def of(cls, sockets: dict[str, str]) -> "_Naming":
        return cls(sockets, frozenset(match[1] for name in sockets if (match := _NUMBERED.fullmatch(name))))

    def name(self, channel: str) -> str:
        """A channel's stripped name as sockets are named here: without leading zeros, in a single bank by number."""
        match = _NUMBERED.fullmatch(channel)
        if match is None:
            return channel
        letters = match[1]
        if len(self.banks) == 1 and "A" not in self.banks and letters in _ANY_BANK:
            (letters,) = self.banks
        return f"{letters}{match[2]}"

    def counts(self, name: str) -> bool:
        """Whether a name looks like that of a socket, though this cap may have none of this number."""
        match = _NUMBERED.fullmatch(name)
        banks = _BIOSEMI_BANKS if "A" in self.banks else self.banks if len(self.banks) == 1 else ()
        return match is not None and match[1] in banks


class Nearest(NamedTuple):
    """The channels that stand for electrodes {channel: electrode}, how far off they are, and the rest with reasons."""

    usable: dict[str, str]
    millimetres: dict[str, float]
    unusable: dict[str, str]
    note: str


class Spline(NamedTuple):
    """Electrodes as sums of channels with weights [electrodes, channels]; the other channels with reasons."""

    channels: tuple[str, ...]
    weights: Float64[np.ndarray, "C channels"]
    unusable: dict[str, str]
    note: str


def sockets(cap: Cap, names: Sequence[str]) -> dict[str, str]:
    """Returns which channels of a recording are which sockets of a cap: {channel: socket's name in the montage}.

    Sockets are counted as the montage does (`E1`, also `EEG 001` or `1`; `VREF` for Cz), or as BioSemi does (`A1` ...
    `B32`, also of the caps of 16 to 64 whose montages have 10-20 names). Raises InputError where no channel is a
    socket, and where the recording counts sockets that the cap does not have: it was another cap, then.
    """
    shape = template(cap.montage)
    plain = [spelling.electrode for spelling in spellings(names)]
    naming = max(_namings(shape), key=lambda one: sum(one.name(name) in one.sockets for name in plain))
    found: dict[str, str] = {}
    beyond: list[str] = []
    for channel, name in zip(names, map(naming.name, plain), strict=True):
        socket = naming.sockets.get(name)
        if socket is None and naming.counts(name):
            beyond.append(channel)
        elif socket is not None and socket not in found.values():
            found[channel] = socket
    if not found or beyond:
        which = f"{beyond[0]!r} is none" if beyond else f"none of the {len(names)} channels is one"
        own = list(naming.sockets)
        raise InputError(
            f"The cap {cap.montage} has {len(shape.sockets)} sockets, {own[0]} to {own[-1]}, and {which}: "
            "name the cap that was worn (--montage)."
        )
    return found


def nearest(cap: Cap, names: Sequence[str], taken: Collection[str] = ()) -> Nearest:
    """Gives each socket the name of the electrode nearest to it, if it is at most `cap.within_mm` away.

    Of the sockets that are nearest to one electrode, the closest stands for it. Sockets whose names in the montage are
    electrodes keep these, at no distance. `taken` are electrodes that other channels give already. Raises the errors
    of `sockets`.
    """
    shape = template(cap.montage)
    found = sockets(cap, names)
    by = dict.fromkeys(taken, "a renamed channel")
    usable, far_off = {}, {}
    unusable = {name: _no_socket(name, cap) for name in names if name not in found}
    # Sorting keeps the order of the recording among equals.
    for channel, (electrode, far) in sorted(_wishes(shape, found).items(), key=lambda wish: wish[1][1]):
        where = f"{channel!r} lies {far:.1f} mm from {electrode}, the electrode nearest to it"
        if far > cap.within_mm:
            unusable[channel] = f"{where}: farther than {cap.within_mm:g} mm."
        elif electrode in by:
            unusable[channel] = f"{where}, which {by[electrode]} stands for."
        else:
            usable[channel], far_off[channel] = electrode, far
            by[electrode] = repr(channel)
    usable = {channel: usable[channel] for channel in found if channel in usable}
    stand = ", ".join(f"{channel} for {one} ({far_off[channel]:.1f} mm)" for channel, one in usable.items())
    note = (
        f"cap {cap.montage}: {len(usable)} of {len(found)} recorded sockets (the cap has {len(shape.sockets)}) stand "
        f"for the electrodes nearest to them, within {cap.within_mm:g} mm: {stand or 'none'}."
    )
    return Nearest(usable, far_off, unusable, note)


def spline(
    cap: Cap,
    names: Sequence[str],
    electrodes: Sequence[str],
    bad: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> Spline:
    """Interpolates electrodes from all good sockets by spherical splines (`positions.spline_matrix`).

    `bad` channels take no part. `renamed` {channel: electrode} are further channels, at their electrodes' places.
    Raises InputError for an electrode without a place on the head or without a good socket within `REACH_MM`, and the
    errors of `sockets`.
    """
    shape = template(cap.montage)
    found = sockets(cap, names)
    where = {channel: shape.sockets[socket] for channel, socket in found.items()}
    where |= {channel: shape.place(electrode) for channel, electrode in (renamed or {}).items()}
    unusable = {name: _no_socket(name, cap) for name in names if name not in where}
    unusable |= {name: f"{name!r} is marked as bad: left out of the interpolation." for name in where if name in bad}
    good = [channel for channel in where if channel not in bad]
    if not good:
        raise InputError(f"All of its {len(where)} sockets are marked as bad: nothing can be interpolated.")
    source = np.array([where[channel] for channel in good])
    target = np.array([shape.place(electrode) for electrode in electrodes])
    reached = []
    for electrode, distances in zip(electrodes, millimetres(target, source), strict=True):
        closest = int(distances.argmin())
        if distances[closest] > REACH_MM:
            raise InputError(
                f"{electrode} cannot be interpolated: the nearest good socket, {good[closest]!r}, is "
                f"{distances[closest]:.0f} mm away (at most {REACH_MM:g}). Leave the electrode out."
            )
        reached.append(f"{electrode} ({good[closest]}, {distances[closest]:.1f} mm)")
    note = (
        f"cap {cap.montage}: {len(electrodes)} electrodes are interpolated by spherical splines from {len(good)} "
        f"sockets (nearest to each: {', '.join(reached)})."
    )
    return Spline(tuple(good), spline_matrix(source, target), unusable, note)


def _wishes(shape: Template, found: Mapping[str, str]) -> dict[str, tuple[str, float]]:
    """The electrode that is nearest to each channel's socket, and its distance in mm."""
    own = known(list(shape.sockets)).usable
    electrodes = list(shape.electrodes)
    distances = millimetres(
        np.array([shape.sockets[socket] for socket in found.values()]), np.array(list(shape.electrodes.values()))
    )
    wishes = {}
    for (channel, socket), row in zip(found.items(), distances, strict=True):
        closest = electrodes[int(row.argmin())]
        # The name of a socket counts where its place agrees, or where the name has no place (M1, T3).
        named = socket in own and (own[socket] == closest or own[socket] not in shape.electrodes)
        wishes[channel] = (own[socket], 0.0) if named else (closest, float(row.min()))
    return wishes


def _namings(shape: Template) -> list[_Naming]:
    names = list(shape.sockets)
    own = _Naming.of({_Naming({}, frozenset()).name(name.upper()): name for name in names})
    if len(own.banks) == 1 and names[-1] == "Cz":
        # The reference of EGI's nets is a socket as well, with the next number.
        own.sockets.update(dict.fromkeys((*_VERTEX, f"{next(iter(own.banks))}{len(names)}"), "Cz"))
    if shape.name not in _COUNTED_BY_BIOSEMI:
        return [own]
    return [own, _Naming.of({f"{_BIOSEMI_BANKS[i // _BANK]}{i % _BANK + 1}": name for i, name in enumerate(names)})]


def _no_socket(name: str, cap: Cap) -> str:
    return f"{name!r} is no socket of the cap {cap.montage}, or one that another channel is already."
