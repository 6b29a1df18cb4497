"""How good the predictions are: confusion matrix, ROC curve, scores beside the baseline's and the paper's."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from sklearn import metrics

from labram_jax.reporting.figures import style
from labram_jax.tables import Interval, Spread, metric_name


@style.styled
def confusion(targets: Int[np.ndarray, "N"], predicted: Int[np.ndarray, "N"], classes: Sequence[str]) -> Figure:
    """Draws a confusion matrix: the count in each cell, its share of the true class as colour and percentage."""
    counts = metrics.confusion_matrix(targets, predicted, labels=np.arange(len(classes)))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    side = max(2.6, 0.85 * len(classes) + 0.9)
    figure, axes = style.new_figure(size=(side + 2.2, side + 0.3))
    axis = axes[0, 0]
    axis.grid(False)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        axis.text(
            column, row, f"{counts[row, column]:,}\n{shares[row, column]:.0%}", ha="center", va="center",
            fontsize=9 if len(classes) <= 6 else 7, color="white" if shares[row, column] > 0.55 else style.INK,
        )  # fmt: skip
    classes = [style.as_it_is(name) for name in classes]
    names = [f"{name}\n(n = {total:,})" for name, total in zip(classes, totals[:, 0], strict=True)]
    axis.set_xticks(range(len(classes)), classes, rotation=0 if max(map(len, classes)) < 11 else 30)
    axis.set_yticks(range(len(classes)), names)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    axis.set(xlabel="predicted", ylabel="true")
    bar = figure.colorbar(image, ax=axis, shrink=0.8, format=lambda share, _: f"{share:.0%}")
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    return figure


@style.styled
def roc(curves: Mapping[str, tuple[Int[np.ndarray, "N"], Float[np.ndarray, "N"]]]) -> Figure:
    """Draws ROC curves {name: (targets 0/1, score)} with the area under each in the legend."""
    figure, axes = style.new_figure(size=(4.0, 4.0))
    axis = axes[0, 0]
    axis.plot([0, 1], [0, 1], color=style.REFERENCE, ls="--", lw=1, label="chance  .500")
    for (name, (targets, score)), color in zip(curves.items(), style.CYCLE * len(curves), strict=False):
        false_rate, true_rate, _ = metrics.roc_curve(targets, score)
        area = f"{metrics.roc_auc_score(targets, score):.3f}".removeprefix("0")
        axis.plot(false_rate, true_rate, color=color, label=f"{name}  {area}")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axis.set_aspect("equal")
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[1:] + handles[:1], labels[1:] + labels[:1], loc="lower right", title="AUROC")
    return figure


@style.styled
def score_bars(
    columns: Mapping[str, Mapping[str, float | Spread]],
    chance: Mapping[str, float] | None = None,
    intervals: Mapping[str, Mapping[str, Interval]] = MappingProxyType({}),
) -> Figure:
    """Draws metrics of models side by side {model: {metric: value}}; spreads and `intervals` become error bars.

    Metrics that only one column has are kept; losses, which have no common scale with scores, should be left out
    by the caller. `chance` marks what is reached without any EEG.
    """
    names = list(dict.fromkeys(metric for scores in columns.values() for metric in scores))
    figure, axes = style.new_figure(size=(max(4.2, 0.9 + 0.42 * len(names) * (len(columns) + 1)), 3.2))
    axis = axes[0, 0]
    width = 0.8 / len(columns)
    for index, (model, scores) in enumerate(columns.items()):
        shown = [(place, name, scores[name]) for place, name in enumerate(names) if name in scores]
        places = np.array([place + (index - (len(columns) - 1) / 2) * width for place, _, _ in shown])
        means = [value.mean if isinstance(value, Spread) else value for _, _, value in shown]
        errors = np.array([_reach(value, intervals.get(model, {}).get(name)) for _, name, value in shown]).T
        bars = axis.bar(
            places, means, width * 0.92, color=style.CYCLE[index % len(style.CYCLE)], label=model,
            yerr=errors if errors.any() else None, error_kw={"lw": 1, "ecolor": style.INK},
        )  # fmt: skip
        axis.bar_label(
            bars, [f"{mean:.2f}".replace("-0.", "-.").removeprefix("0") for mean in means], fontsize=7, padding=2
        )
    for place, name in enumerate(names):
        if chance and name in chance:
            axis.plot([place - 0.45, place + 0.45], [chance[name]] * 2, color=style.INK, ls=":", lw=1.2)
    axis.set_xticks(range(len(names)), [metric_name(name) for name in names])
    axis.tick_params(axis="x", length=0)
    axis.grid(False, axis="x")
    axis.axhline(0, color=style.GREY, lw=0.8)
    axis.margins(y=0.12)
    handles, labels = axis.get_legend_handles_labels()
    if chance:
        handles += axis.plot([], [], color=style.INK, ls=":", lw=1.2)
        labels.append("chance")
    figure.legend(handles, labels, loc="outside upper center", ncols=5)
    return figure


def _reach(value: float | Spread, interval: Interval | None) -> tuple[float, float]:
    """How far the error bar of a value reaches below it and above it."""
    if isinstance(value, Spread):
        return value.std, value.std
    return (0.0, 0.0) if interval is None else (max(0.0, value - interval.low), max(0.0, interval.high - value))
