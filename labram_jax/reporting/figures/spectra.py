"""Original against reconstructed spectra, as EEG is read: per electrode, arranged as on the head, in Hz."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from labram_jax.evaluation.reconstruction import FREQUENCIES, HIGHEST_HZ, SpectralComparison
from labram_jax.reporting.figures import style

# Places of the page from the forehead to the back; the later of two names is the older one of the same place.
_HEAD = (
    ((), ("FP1",), ("FPZ",), ("FP2",), ()),
    (("F7",), ("F3",), ("FZ",), ("F4",), ("F8",)),
    (("T7", "T3"), ("C3",), ("CZ",), ("C4",), ("T8", "T4")),
    (("P7", "T5"), ("P3",), ("PZ",), ("P4",), ("P8", "T6")),
    ((), ("O1",), ("OZ",), ("O2",), ()),
)
_BANDS_HZ = {"δ": (1, 4), "θ": (4, 8), "α": (8, 13), "β": (13, 30), "γ": (30, HIGHEST_HZ)}


def page_layout(electrodes: Sequence[str], most: int = 15) -> list[list[int | None]]:
    """Returns rows of indices into `electrodes` (None: an empty place), arranged as seen from above the head.

    Only places of the 10-20 system are shown; a montage with fewer than four of them is laid out in its order.
    """
    place = {name: index for index, name in enumerate(electrodes)}
    grid = [[next((place[name] for name in names if name in place), None) for names in row] for row in _HEAD]
    rows = [row for row in grid if any(index is not None for index in row)]
    columns = [i for i in range(5) if any(row[i] is not None for row in rows)]
    if sum(index is not None for row in rows for index in row) >= min(4, len(electrodes)):
        return [[row[i] for i in columns] for row in rows]
    shown = list(range(min(len(electrodes), most)))
    width = min(len(shown), 5 if len(shown) > 8 else 4)
    padded = shown + [None] * (-len(shown) % width)
    return [padded[start : start + width] for start in range(0, len(padded), width)]


@style.styled
def amplitude_spectra(comparison: SpectralComparison) -> Figure:
    """Draws amplitude against frequency per electrode: mean over patches, with the middle half of them shaded."""
    layout = page_layout(comparison.electrodes)
    rows, columns = len(layout), len(layout[0])
    figure, axes = style.new_figure(
        rows, columns, size=(max(4.5, 2.1 * columns + 0.5), 1.65 * rows + 0.9), sharex=True, sharey=True
    )
    for axis, index in zip(axes.flat, (index for row in layout for index in row), strict=True):
        if index is None:
            axis.set_visible(False)
            continue
        _spectrum(axis, comparison.original[:, index], style.ORIGINAL, "original")
        _spectrum(axis, comparison.reconstructed[:, index], style.RECONSTRUCTED, "reconstructed")
        axis.set_title(comparison.electrodes[index])
    first = next(axis for axis in axes.flat if axis.get_visible())
    first.set(xlim=(0, HIGHEST_HZ), yscale="log", xticks=(0, 10, 20, 30, 45, 60, 75))
    shown = [index for row in layout for index in row if index is not None]
    means = comparison.original[:, shown].mean(axis=0)
    first.set_ylim(means.min() / 2.5, np.quantile(comparison.original[:, shown], 0.75, axis=0).max() * 1.6)
    first.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _outer_ticks(axes)
    figure.supxlabel("frequency (Hz)", fontsize=9)
    figure.supylabel("amplitude (µV)", fontsize=9)
    handles, labels = first.get_legend_handles_labels()
    handles.append(Patch(color=style.GREY, alpha=0.3, lw=0))
    labels = [f"{label} (mean)" for label in labels] + ["middle half of the patches"]
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


@style.styled
def fidelity(comparison: SpectralComparison) -> Figure:
    """Draws, against frequency, how well amplitude follows the original over patches, and how well phase does."""
    figure, axes = style.new_figure(1, 2, size=(7.6, 3.0), sharex=True, sharey=True)
    panels = (
        ("amplitude", comparison.amplitude_correlation(), "correlation over patches"),
        ("phase", comparison.phase_agreement, "mean cosine of the phase error"),
    )
    for axis, (title, values, label) in zip(axes[0], panels, strict=True):
        low, middle, high = np.nanquantile(values, (0.1, 0.5, 0.9), axis=0)
        axis.fill_between(FREQUENCIES, low, high, color=style.BLUE, alpha=0.2, lw=0, label="80 % of electrodes")
        axis.plot(FREQUENCIES, middle, color=style.BLUE, label="median electrode")
        axis.axhline(0, color=style.REFERENCE, ls="--", lw=1)
        for name, (start, stop) in _BANDS_HZ.items():
            axis.axvline(start, color=style.PALE, lw=0.8, zorder=0)
            axis.text((start + stop) / 2, 1.0, name, ha="center", va="bottom", fontsize=8, color=style.GREY)
        axis.set(title=title, xlabel="frequency (Hz)", ylabel=label, xlim=(0, HIGHEST_HZ), ylim=(-0.1, 1.08))
        axis.yaxis.set_tick_params(labelleft=True)
        axis.grid(False, axis="x")
    style.legend(axes[0, 1], loc="upper right", bbox_to_anchor=(1, 0.92))
    return figure


def _spectrum(axis: Axes, amplitudes: np.ndarray, color: str, label: str) -> None:
    # A reconstruction may fall below 0; the floor keeps it drawable on the logarithmic axis.
    low, high = np.maximum(np.quantile(amplitudes, (0.25, 0.75), axis=0), 1e-6)
    axis.fill_between(FREQUENCIES, low, high, color=color, alpha=0.16, lw=0)
    axis.plot(FREQUENCIES, np.maximum(amplitudes.mean(axis=0), 1e-6), color=color, label=label, lw=1.3)


def _outer_ticks(axes: np.ndarray) -> None:
    """Labels the lowest visible panel of each column and the first of each row, since corners may be empty."""
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.xaxis.set_tick_params(labelbottom=True)
    for row in axes:
        first = next(axis for axis in row if axis.get_visible())
        first.yaxis.set_tick_params(labelleft=True)
