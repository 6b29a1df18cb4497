"""A benchmark at one look: every seed and fold of every mode, what stands beside, and what is published."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from labram_jax.reporting.figures import style
from labram_jax.tables import Spread, metric_name

Values = Mapping[str, float]
_DASHES = ("--", ":", "-.")


@style.styled
def beside_published(
    metrics: Sequence[str],
    seeds: Mapping[str, Sequence[Values]],
    folds: Mapping[str, Sequence[Values]],
    references: Mapping[str, Values],
    published: Mapping[str, Mapping[str, Spread]],
) -> Figure:
    """Draws one panel for each metric and one row for each mode.

    Args:
        metrics: in the order of the panels.
        seeds: scores of each seed of a mode, as points; their mean is a stroke.
        folds: scores of single folds of a mode, as small points.
        references: a dashed line each, where a reference has the metric.
        published: a band of mean ± standard deviation each, where it has the metric.
    """
    height = 1.7 + 0.45 * len(seeds) + 0.18 * (len(references) + len(published))
    figure, axes = style.new_figure(1, len(metrics), size=(max(4.6, 2.9 * len(metrics)), height), sharey=True)
    places = {mode: -place for place, mode in enumerate(seeds)}
    for axis, metric in zip(axes[0], metrics, strict=True):
        bands = {name: scores[metric] for name, scores in published.items() if metric in scores}
        for (name, band), color in zip(
            bands.items(), (style.SKY, style.ORANGE, style.GREEN) * len(bands), strict=False
        ):
            label = f"{name}, mean ± std"
            axis.axvspan(band.mean - band.std, band.mean + band.std, color=color, alpha=0.3, lw=0, label=label)
            axis.axvline(band.mean, color=color, lw=1)
        for number, (name, values) in enumerate(references.items()):
            if metric in values:
                dashes = _DASHES[number % len(_DASHES)]
                axis.axvline(values[metric], color=style.REFERENCE, ls=dashes, lw=1.2, label=name)
        for mode, place in places.items():
            _points(axis, [own[metric] for own in folds.get(mode, ()) if metric in own], place, style.GREY, 6, 0.35)
            own = [one[metric] for one in seeds[mode] if metric in one]
            _points(axis, own, place, style.BLUE, 26, 0.85)
            if own:
                axis.plot([np.mean(own)] * 2, [place - 0.32, place + 0.32], color=style.INK, lw=2)
        axis.set(xlabel=metric_name(metric), yticks=list(places.values()), ylim=(0.6 - len(seeds), 0.6))
        axis.set_yticklabels([style.as_it_is(mode) for mode in places])
        axis.grid(axis="y", visible=False)
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    if handles:
        figure.legend(handles.values(), map(style.as_it_is, handles), loc="outside lower center", ncols=2)
    return figure


def _points(axis, values: Sequence[float], place: float, color: str, size: float, alpha: float) -> None:
    """Points around a row, moved aside in turn so that equal values are seen."""
    lanes = min(len(values), 5)
    aside = 0.06 * (np.arange(len(values)) % max(lanes, 1) - (lanes - 1) / 2)
    axis.scatter(values, place + aside, s=size, color=color, alpha=alpha, lw=0, zorder=3)
