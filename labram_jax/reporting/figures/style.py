"""One look for every figure: sizes, a palette that colour-blind readers can tell apart, quiet axes."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's palette.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#222222", "#767676", "#DDDDDD"
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
TRAIN, VALIDATION, REFERENCE = BLUE, VERMILION, GREY
ORIGINAL, RECONSTRUCTED = INK, VERMILION
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"

DPI = 150
_RC = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#EBEBEB",
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draws under the style's settings, which nothing outside the call sees."""
    return rc_context(_RC)(draw)


def new_figure(rows: int = 1, columns: int = 1, *, size: tuple[float, float], **grid) -> tuple[Figure, np.ndarray]:
    """Returns a figure of `size` inches and its axes as an array [rows, columns]; `grid` as for `subplots`."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **grid)


def as_it_is(name: str) -> str:
    """Returns what draws `name` itself: text between two dollar signs would be read as mathematics."""
    return name.replace("$", r"\$")


def readable_on(color: Sequence[float]) -> str:
    """Returns black or white, whichever has the greater contrast on a colour (red, green, blue from 0 to 1)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))  # as WCAG 2 has it, where the two are equal at 0.179
    return "black" if luminance > 0.179 else "white"


def legend(axes: Axes, **options) -> None:
    """Adds a legend if anything is labelled."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(**options)


def save(figure: Figure, path: Path) -> Path:
    """Writes a PNG under a temporary name and renames it when whole."""
    partial = path.with_name(f"{path.stem}.partial.png")
    partial.write_bytes(png(figure))
    return partial.replace(path)


def png(figure: Figure) -> bytes:
    """Returns the figure as a PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI)
    return picture.getvalue()


def described(figure: Figure) -> str:
    """Says what a figure's panels, axes and curves are called, for whoever does not see it."""
    axes = [axis for axis in figure.axes if axis.get_visible()]
    panels = [axis.get_title(loc="left") or axis.get_title() for axis in axes]
    labels = [label for axis in axes for label in (axis.get_xlabel(), axis.get_ylabel())]
    labels += [figure.get_supxlabel(), figure.get_supylabel()]
    legends = [*figure.legends, *(own for axis in axes if (own := axis.get_legend()))]
    curves = [text.get_text() for own in legends for text in own.get_texts()]
    found = {"panels": panels, "axes": labels, "shown": curves}
    told = {what: ", ".join(dict.fromkeys(filter(None, names))) for what, names in found.items()}
    return "; ".join(f"{what}: {names}" for what, names in told.items() if names).replace(r"\$", "$")
