"""From the channels of a recording to the electrodes of a corpus: renamed, by a cap's positions, or by their names."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from labram_jax.data_prep.cleaning import caps
from labram_jax.data_prep.readers.reader import Header
from labram_jax.data_prep.recipe import Recipe
from labram_jax.errors import InputError
from labram_jax.montage import KnownElectrodes, known, normalise

_RENAME_COLUMNS = ("from", "to")


@dataclass(frozen=True)
class Derivation:
    """How the signal of a recording's electrodes comes from its channels.

    `electrodes` are the montage in order (C of them), `channels` what is read. `weights` None: electrode i is channel
    i. Else the signal is `weights @ microvolts(channels, ...)`, to be taken before anything else is done to it, and
    `channels` are all that take part: those marked bad do not. `unusable` {channel: reason} are the others.
    `marked_bad` are the electrodes whose channels the recording declares bad. `notes` are for people.
    """

    electrodes: tuple[str, ...]
    channels: tuple[str, ...]
    weights: Float64[np.ndarray, "C channels"] | None
    unusable: Mapping[str, str]
    marked_bad: frozenset[str]
    notes: tuple[str, ...]


def derivation(header: Header, recipe: Recipe) -> Derivation:
    """Returns the electrodes of a recording by a recipe: those it asks for in their order, or all that are known.

    Raises InputError where nothing is usable, where an electrode that is asked for is lacking or cannot be
    interpolated, and where the cap is none of MNE's or not the one of the recording.
    """
    if recipe.cap is not None and recipe.cap.method == "spline":
        return _interpolated(header, recipe)
    found, notes = _named(header, recipe)
    channels = pick(found, recipe.electrodes)
    marked_bad = frozenset(electrode for electrode, channel in channels.items() if channel in header.marked_bad)
    return Derivation(tuple(channels), tuple(channels.values()), None, found.unusable, marked_bad, notes)


def electrodes_of(header: Header, recipe: Recipe) -> KnownElectrodes:
    """Splits the channels of a recording into electrodes {channel: electrode} and the rest with reasons.

    What `recipe.rename` says of a channel goes before its cap, and the cap before names. Interpolated electrodes have
    no channel of their own: see `derivation`. Raises InputError for a cap that is none of MNE's or not the recording's.
    """
    return _named(header, recipe)[0]


def pick(found: KnownElectrodes, electrodes: Sequence[str] | None) -> dict[str, str]:
    """Returns {electrode: channel} for the montage asked for, in its order, or for every known electrode.

    Raises InputError where nothing is known, or for electrodes that are lacking.
    """
    by_electrode = {electrode: channel for channel, electrode in found.usable.items()}
    if electrodes is None:
        if not by_electrode:
            names, reasons = list(found.unusable), list(found.unusable.values())
            reason = (reasons[0] if reasons else "none is declared as EEG").rstrip(".")
            advice = "say what they are called in the 10-20 system (--rename FILE), or leave it out"
            raise InputError(
                f"None of its {len(names)} channels ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''}) "
                f"is a known electrode: {reason}{'' if '--rename' in reason else f'; {advice}'}."
            )
        return by_electrode
    wanted = [normalise(electrode) for electrode in electrodes]
    missing = [electrode for electrode in wanted if electrode not in by_electrode]
    if missing:
        raise InputError(f"It lacks {', '.join(missing)}, of the {len(wanted)} electrodes asked for.")
    return {electrode: by_electrode[electrode] for electrode in wanted}


def read_rename(file: Path) -> dict[str, str]:
    """Reads what channels stand for from a CSV file with the columns `from` and `to`: {channel: electrode}.

    Raises InputError with the line for a file that cannot be read, a missing column, an empty cell, a channel that is
    there twice, and for what is no electrode of the vocabulary.
    """
    rename: dict[str, str] = {}
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.DictReader(lines)
            columns = [column.strip().lower() for column in rows.fieldnames or ()]
            if not set(_RENAME_COLUMNS) <= set(columns):
                raise InputError(
                    f"{file}, line 1: the columns are {', '.join(columns) or 'none'}; the first line must say from,to."
                )
            rows.fieldnames = columns
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                channel, electrode = ((row[column] or "").strip() for column in _RENAME_COLUMNS)
                if not channel or not electrode:
                    raise InputError(f"{where}: a cell is empty; give a channel and the electrode that it stands for.")
                if channel in rename:
                    raise InputError(
                        f"{where}: {channel!r} is renamed in an earlier line already; remove one of the two."
                    )
                rename[channel] = _target(electrode, where)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {file}: give a CSV file with the columns from,to.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{file} cannot be read ({error}): give a CSV file in UTF-8 with the columns from,to."
        ) from error
    if not rename:
        raise InputError(f"{file} renames nothing: give lines with a channel and the electrode that it stands for.")
    return rename


def _target(electrode: str, where: str) -> str:
    try:
        return normalise(electrode)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _named(header: Header, recipe: Recipe) -> tuple[KnownElectrodes, tuple[str, ...]]:
    """What `electrodes_of` says, and notes on what was renamed and how far sockets are from their electrodes."""
    renamed = _renamed(header, recipe)
    rest = [name for name in header.channels if name not in renamed.usable and name not in renamed.unusable]
    notes = _rename_notes(renamed, recipe)
    if recipe.cap is None:
        found = known(rest, recipe.aliases)
        given = {electrode: channel for channel, electrode in renamed.usable.items()}
        usable = {channel: electrode for channel, electrode in found.usable.items() if electrode not in given}
        again = {
            channel: f"{channel!r} is electrode {electrode} again, which {given[electrode]!r} is renamed to."
            for channel, electrode in found.usable.items()
            if electrode in given
        }
    else:
        found = caps.nearest(recipe.cap, rest, renamed.usable.values())
        usable, again = _aliased(found.usable, recipe.aliases), {}
        notes.append(found.note)
    usable |= renamed.usable
    unusable = {**found.unusable, **again, **renamed.unusable}
    in_order = {channel: usable[channel] for channel in header.channels if channel in usable}
    left = {channel: unusable[channel] for channel in header.channels if channel in unusable}
    return KnownElectrodes(in_order, {**left, **header.others}), tuple(notes)


def _interpolated(header: Header, recipe: Recipe) -> Derivation:
    electrodes = tuple(normalise(electrode) for electrode in recipe.electrodes)
    renamed = _renamed(header, recipe)
    rest = [name for name in header.channels if name not in renamed.usable and name not in renamed.unusable]
    found = caps.spline(recipe.cap, rest, electrodes, header.marked_bad, renamed.usable)
    unusable = {**found.unusable, **renamed.unusable, **header.others}
    notes = (*_rename_notes(renamed, recipe), found.note)
    return Derivation(electrodes, found.channels, found.weights, unusable, frozenset(), notes)


def _renamed(header: Header, recipe: Recipe) -> KnownElectrodes:
    """The channels that `recipe.rename` names: exactly, or else whatever their case and the blanks around them."""
    loosely = {_loose(channel): electrode for channel, electrode in recipe.rename.items()}
    usable: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for channel in header.channels:
        electrode = recipe.rename.get(channel) or loosely.get(_loose(channel))
        if electrode is None:
            continue
        electrode = normalise(electrode)
        if electrode in usable.values():
            unusable[channel] = f"{channel!r} is renamed to {electrode}, as another channel is already."
        else:
            usable[channel] = electrode
    return KnownElectrodes(usable, unusable)


def _rename_notes(renamed: KnownElectrodes, recipe: Recipe) -> list[str]:
    if not recipe.rename:
        return []
    pairs = ", ".join(f"{channel} to {electrode}" for channel, electrode in renamed.usable.items())
    return [f"renamed: {pairs or f'none of its channels is among the {len(recipe.rename)} to be renamed'}."]


def _aliased(usable: Mapping[str, str], aliases: Mapping[str, str]) -> dict[str, str]:
    return {channel: aliases.get(electrode, electrode) for channel, electrode in usable.items()}


def _loose(name: str) -> str:
    return name.replace("\0", " ").strip().upper()
