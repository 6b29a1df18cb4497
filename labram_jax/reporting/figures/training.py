"""How a run went: losses and learning rate over steps, and how many codes the codebook uses."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labram_jax.reporting.figures import style
from labram_jax.tables import metric_name

Series = tuple[Float[np.ndarray, "points"], Float[np.ndarray, "points"]]
"""Steps and values of one metric."""

_LOOKS = {
    "train": {"color": style.TRAIN, "lw": 1.3},
    "validation": {"color": style.VALIDATION, "lw": 1.6, "marker": "o", "ms": 4},
    "test": {"color": style.GREEN, "lw": 1.6, "marker": "s", "ms": 4},
}


@style.styled
def training_curves(
    curves: Mapping[str, Mapping[str, Series]],
    learning_rate: Series | None = None,
    references: Mapping[str, tuple[float, str]] | None = None,
) -> Figure:
    """Draws each metric over training steps, a panel each, and the learning rate in the last panel.

    `curves` {metric: {split: (steps, values)}}; `references` {metric: (value, what it means)} draws a line to
    compare with, such as the loss of guessing.
    """
    panels = len(curves) + (learning_rate is not None)
    columns = 1 if panels == 1 else 2 if panels in (2, 4) else 3
    rows = -(-panels // columns)
    figure, axes = style.new_figure(rows, columns, size=(3.6 * columns + 0.4, 2.6 * rows + 0.2), sharex=True)
    flat = list(axes.flat)
    for axis, (metric, splits) in zip(flat, curves.items(), strict=False):
        _curve(axis, metric, splits, (references or {}).get(metric))
    if learning_rate is not None:
        axis = flat[len(curves)]
        axis.plot(*learning_rate, color=style.PURPLE)
        axis.set_title("learning rate")
        axis.set_ylim(bottom=0)
        axis.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    for axis in flat[panels:]:
        axis.set_visible(False)
    for axis in flat[max(0, panels - columns) : panels]:
        axis.set_xlabel("step")
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure


@style.styled
def codebook_usage(used: Mapping[str, Series], perplexity: Mapping[str, Series], codes: int) -> Figure:
    """Draws the share of codes in use and the perplexity of the codes over training steps, by split.

    Perplexity is the number of codes that, used evenly, would carry as much information.
    """
    figure, axes = style.new_figure(1, 2, size=(7.6, 2.8))
    left, right = axes[0]
    for split, (steps, values) in used.items():
        left.plot(steps, 100 * values, label=split, **_look(split))
    left.set(title="codes in use", xlabel="step", ylabel=f"% of {codes:,} codes", ylim=(0, 103))
    for split, (steps, values) in perplexity.items():
        right.plot(steps, values, label=split, **_look(split))
    right.axhline(codes, color=style.REFERENCE, ls="--", lw=1)
    right.annotate(
        f"all {codes:,} codes evenly", (1, codes), xycoords=("axes fraction", "data"), xytext=(-2, 3),
        textcoords="offset points", ha="right", va="bottom", color=style.REFERENCE, fontsize=8,
    )  # fmt: skip
    right.set(title="perplexity of the codes", xlabel="step", ylabel="effective number of codes", yscale="log")
    right.set_ylim(0.9, codes * 1.8)
    style.legend(left, loc="best")
    return figure


@style.styled
def code_histogram(counts: Int[np.ndarray, "K"], patches: int) -> Figure:
    """Draws how often each code was chosen on held-out windows, most frequent first, and the share they cover."""
    order = np.sort(counts)[::-1]
    used = int((order > 0).sum())
    probabilities = order[:used] / max(order.sum(), 1)
    perplexity = float(np.exp(-(probabilities * np.log(probabilities)).sum())) if used else 0.0
    figure, axes = style.new_figure(1, 2, size=(7.6, 2.8))
    left, right = axes[0]
    ranks = np.arange(1, used + 1)
    left.fill_between(ranks, order[:used], step="mid", color=style.BLUE, alpha=0.35, lw=0)
    left.step(ranks, order[:used], where="mid", color=style.BLUE, lw=1.2)
    left.set(title="use of each code", xlabel="code, most frequent first", ylabel="patches")
    left.set(yscale="log", xlim=(0.5, len(counts) + 0.5), ylim=(0.7, max(order[0], 1) * 2))
    if used < len(counts):
        left.axvspan(used + 0.5, len(counts) + 0.5, color=style.PALE, alpha=0.5, lw=0)
    left.text(
        0.98, 0.96, f"{used:,} of {len(counts):,} codes in use\nperplexity {perplexity:,.0f}\n{patches:,} patches",
        transform=left.transAxes, ha="right", va="top", fontsize=8,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
    )  # fmt: skip
    right.plot(np.arange(1, used + 1), 100 * np.cumsum(probabilities), color=style.BLUE)
    right.plot([0, len(counts)], [0, 100], color=style.REFERENCE, ls="--", lw=1, label="all codes evenly")
    right.set(title="patches covered", xlabel="number of codes", ylabel="% of patches", ylim=(0, 103))
    right.set_xlim(0, len(counts))
    style.legend(right, loc="lower right")
    return figure


def _curve(axis: Axes, metric: str, splits: Mapping[str, Series], reference: tuple[float, str] | None) -> None:
    for split, (steps, values) in splits.items():
        noisy = split == "train" and len(values) >= 60
        if noisy:
            axis.plot(steps, values, color=style.TRAIN, lw=0.6, alpha=0.3)
            steps, values = _smoothed(steps, values)
        axis.plot(steps, values, label=split, **_look(split))
    if reference is not None:
        value, meaning = reference
        axis.axhline(value, color=style.REFERENCE, ls="--", lw=1)
        axis.annotate(
            meaning, (1, value), xycoords=("axes fraction", "data"), xytext=(-2, 3), textcoords="offset points",
            ha="right", va="bottom", color=style.REFERENCE, fontsize=8,
        )  # fmt: skip
        axis.margins(y=0.12)
    axis.set_title(metric_name(metric))
    axis.set_xlim(left=0)
    style.legend(axis, loc="best")


def _smoothed(steps: np.ndarray, values: np.ndarray) -> Series:
    """A running mean over a twentieth of the points, so that the trend of noisy batches can be seen."""
    window = np.ones(len(values) // 20 | 1)
    points = np.convolve(np.ones(len(values)), window, mode="same")
    return steps, np.convolve(values, window, mode="same") / points


def _look(split: str) -> dict:
    return _LOOKS.get(split, {"color": style.PURPLE})
