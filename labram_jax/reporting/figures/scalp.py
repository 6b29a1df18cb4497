"""Scalp maps of one value per electrode, drawn by MNE."""

import functools
from collections.abc import Mapping, Sequence

import mne
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from labram_jax.reporting.figures import style

LEAST_ELECTRODES = 5  # fewer points say nothing between them


def placeable(electrodes: Sequence[str]) -> tuple[list[int], tuple[str, ...]]:
    """Splits a montage into indices that can be placed on the head and names that cannot.

    An electrode cannot be placed if MNE's 10-05 positions lack it, or if it shares the place of an
    earlier one (T3 and T7).
    """
    known, _ = _positions()
    taken, placed, left_out = set(), [], []
    for index, name in enumerate(electrodes):
        position = known.get(name.upper())
        if position is None or position[1] in taken:
            left_out.append(name)
        else:
            taken.add(position[1])
            placed.append(index)
    return placed, tuple(left_out)


def too_few(electrodes: Sequence[str]) -> str | None:
    """Says why a montage cannot be drawn on a head; None if it can."""
    placed, _ = placeable(electrodes)
    if len(placed) >= LEAST_ELECTRODES:
        return None
    return (
        f"only {len(placed)} of {len(electrodes)} electrodes can be placed on the head, {LEAST_ELECTRODES} are needed"
    )


@style.styled
def scalp_maps(
    maps: Mapping[str, Float[np.ndarray, "C"]],
    electrodes: Sequence[str],
    label: str,
    diverging: bool = False,
) -> Figure:
    """Draws one head per entry of `maps` {title: value per electrode} on a common colour scale called `label`.

    `diverging` centres the colours on 0. Electrodes without a place are left out and named below the heads.
    Raises ValueError with fewer than five electrodes to place.
    """
    if reason := too_few(electrodes):
        raise ValueError(reason)
    placed, left_out = placeable(electrodes)
    known, _ = _positions()
    info = _centred_info([known[electrodes[index].upper()][0] for index in placed])
    values = {title: np.asarray(value, dtype=float)[placed] for title, value in maps.items()}
    lowest, highest = (extreme(np.concatenate(list(values.values()))) for extreme in (np.min, np.max))
    if diverging:
        highest = max(abs(lowest), abs(highest)) or 1.0
        lowest = -highest
    figure, axes = style.new_figure(1, len(values), size=(max(3.4, 2.9 * len(values) + 0.8), 3.3))
    for axis, (title, value) in zip(axes[0], values.items(), strict=True):
        axis.grid(False)
        image, _ = mne.viz.plot_topomap(
            value, info, axes=axis, show=False, cmap=style.DIVERGING if diverging else style.SEQUENTIAL,
            vlim=(lowest, highest), contours=4,
            names=[electrodes[index] for index in placed] if len(placed) <= 32 else None,
        )  # fmt: skip
        axis.set_title(style.as_it_is(title), loc="center")
        colors = image.to_rgba(value)
        for text, color in zip(axis.texts, colors, strict=False):  # maps of many electrodes have no names
            text.set(fontsize=7, verticalalignment="bottom", color=style.readable_on(color))
    bar = figure.colorbar(image, ax=axes[0].tolist(), shrink=0.7, pad=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
    if left_out:
        figure.supxlabel(f"not placed: {', '.join(left_out)}", fontsize=7, color=style.GREY)
    return figure


@functools.cache
def _positions():
    """Upper-case name to (MNE's name, rounded position), and the montage itself."""
    # MNE 1.13 renamed its extended 10-20 positions.
    name = next(n for n in ("colin27_1005", "standard_1005") if n in mne.channels.get_builtin_montages())
    montage = mne.channels.make_standard_montage(name)
    places = montage.get_positions()["ch_pos"]
    return {name.upper(): (name, tuple(np.round(place, 4))) for name, place in places.items()}, montage


def _centred_info(names: list[str]) -> mne.Info:
    """Electrodes with their places, moved so that Fpz, Oz, T7 and T8 surround the middle of the drawn head.

    MNE draws the head around the origin, which lies behind the middle of its template: without the move frontal
    electrodes would leave the head.
    """
    montage = _positions()[1]
    middle = ["Fpz", "Oz", "T7", "T8"]
    landmarks = mne.create_info(middle, 100.0, "eeg").set_montage(montage)
    fpz, oz, t7, t8 = (channel["loc"][:2] for channel in landmarks["chs"])
    info = mne.create_info(names, 100.0, "eeg").set_montage(montage)
    for channel in info["chs"]:
        channel["loc"][:2] -= np.array([(t7[0] + t8[0]) / 2, (fpz[1] + oz[1]) / 2])
    return info
