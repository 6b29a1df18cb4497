"""What a corpus is like: which electrodes of which recordings are bad, its spectra, and windows as they are."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from labram_jax.config import SAMPLE_RATE
from labram_jax.reporting.figures import style

_MOST_NAMED = 40  # electrodes of whom every one has its name at an axis


@style.styled
def bad_seconds(
    shares: Float[np.ndarray, "recordings C"], recordings: Sequence[str], electrodes: Sequence[str]
) -> Figure:
    """Draws the share of bad seconds of every electrode of every recording, one a row; the largest is darkest."""
    size = (min(11.0, 2.6 + 0.22 * len(electrodes)), 1.3 + 0.19 * len(recordings))
    figure, axes = style.new_figure(size=(max(4.6, size[0]), size[1]))
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(
        shares, cmap="Reds", vmin=0, vmax=max(0.05, shares.max()), aspect="auto", interpolation="nearest"
    )
    step = -(-len(electrodes) // _MOST_NAMED)
    axis.set_xticks(range(0, len(electrodes), step), electrodes[::step], rotation=90, fontsize=7)
    axis.set_yticks(range(len(recordings)), [style.as_it_is(_shortened(name)) for name in recordings], fontsize=7)
    axis.tick_params(length=0)
    axis.set(xlabel="electrode", ylabel="recording")
    bar = figure.colorbar(image, ax=axis, shrink=0.9, pad=0.02, format=lambda share, _: f"{share:.0%}")
    bar.set_label("bad seconds")
    bar.outline.set_visible(False)
    return figure


@style.styled
def spectra_by_group(
    frequencies: Float[np.ndarray, "F"], groups: Mapping[str, Float[np.ndarray, "N F"]], highest_hz: float
) -> Figure:
    """Draws the power of each group of electrodes, uV^2/Hz, a panel each: median and middle half."""
    columns = min(len(groups), 3)
    rows = -(-len(groups) // columns)
    size = (2.5 * columns + 0.9, 2.1 * rows + 0.6)
    figure, axes = style.new_figure(rows, columns, size=size, sharex=True, sharey=True)
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    for axis, (name, power) in zip(axes.flat, groups.items(), strict=False):
        low, middle, high = np.quantile(power, (0.25, 0.5, 0.75), axis=0)
        axis.fill_between(frequencies, low, high, color=style.BLUE, alpha=0.2, lw=0)
        axis.plot(frequencies, middle, color=style.BLUE)
        axis.set(title=name, yscale="log", xlim=(0, highest_hz))
    for axis in axes.flat[: len(groups)][-columns:]:
        axis.xaxis.set_tick_params(labelbottom=True)
    figure.supxlabel("frequency (Hz)", fontsize=9)
    figure.supylabel("power (µV²/Hz)", fontsize=9)
    return figure


@style.styled
def traces(eeg: Float[np.ndarray, "C samples"], electrodes: Sequence[str], bad: Bool[np.ndarray, "C"]) -> Figure:
    """Draws a window as it is stored, microvolts: electrodes one below the other, bad ones in another colour.

    Each is shown less its median, and cut off where it would cover its neighbours' neighbours.
    """
    centred = eeg - np.median(eeg, axis=1, keepdims=True)
    usual = centred[~bad] if (~bad).any() else centred
    distance = _round(max(10.0, 2.2 * float(np.quantile(np.abs(usual), 0.98))))
    times = np.arange(eeg.shape[1]) / SAMPLE_RATE
    figure, axes = style.new_figure(size=(7.6, 1.0 + 0.21 * max(len(electrodes), 6)))
    axis = axes[0, 0]
    for place, own in enumerate(np.clip(centred, -1.5 * distance, 1.5 * distance)):
        axis.plot(times, own - place * distance, color=style.VERMILION if bad[place] else style.INK, lw=0.6)
    axis.set_yticks(-distance * np.arange(len(electrodes)), electrodes, fontsize=7)
    axis.set(xlim=(0, times[-1]), ylim=(-(len(electrodes) + 0.5) * distance, 1.5 * distance), xlabel="time (s)")
    axis.grid(False, axis="y")
    axis.tick_params(axis="y", length=0)
    axis.set_ylabel(f"electrodes, {distance:g} µV apart")
    return figure


def _round(value: float) -> float:
    """The next larger of 1, 2 and 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * next(step for step in (1, 2, 5, 10) if step * power >= value))


def _shortened(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"...{name[-most + 3 :]}"
