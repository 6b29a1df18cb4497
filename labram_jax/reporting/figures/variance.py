"""How the variance of features is shared out among subject, label, recording and the rest."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labram_jax.evaluation.findings import Share
from labram_jax.evaluation.variance import LABEL, RECORDING, SUBJECT, WINDOW
from labram_jax.reporting.figures import style

# Text is dark on all of them.
_COLORS = {SUBJECT: style.ORANGE, LABEL: style.GREEN, RECORDING: style.SKY, WINDOW: style.PALE}
_HEIGHT = 0.74
_TOLD = 0.045  # from which share on there is room for its number


@style.styled
def variance_shares(splits: Mapping[str, Mapping[str, Mapping[str, Share]]], order: tuple[str, ...]) -> Figure:
    """Draws a bar for each kind of features {split: {kind: {factor: share}}}, a panel for each split.

    Factors lie in `order`; a stroke below each says how far it would reach if the factor were shuffled.
    """
    kinds = list(next(iter(splits.values())))
    size = (max(6.4, 1.8 + 4.4 * len(splits)), 1.25 + 0.36 * len(kinds))
    figure, axes = style.new_figure(1, len(splits), size=size, sharey=True)
    for axis, (split, found) in zip(axes[0], splits.items(), strict=True):
        for place, kind in enumerate(kinds):
            _bar(axis, -place, [(factor, found[kind][factor]) for factor in order])
        axis.set_title(style.as_it_is(split))
        axis.set(xlim=(0, 1), xlabel="share of the variance")
        axis.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        axis.set_yticks([-place for place in range(len(kinds))], [style.as_it_is(kind) for kind in kinds])
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.grid(False, axis="y")
    handles = [axes[0, 0].barh(0, 0, color=_COLORS[factor]) for factor in order]
    stroke = axes[0, 0].plot([], [], color=style.INK, lw=1.4)
    figure.legend(
        [*handles, *stroke], [*map(_named, order), "if it were shuffled"], loc="outside lower center", ncols=5
    )
    return figure


def _bar(axis: Axes, place: float, shares: list[tuple[str, Share]]) -> None:
    left = 0.0
    for factor, own in shares:
        axis.barh(place, own.share, _HEIGHT, left=left, color=_COLORS[factor], lw=0)
        if own.share >= _TOLD:
            axis.text(left + own.share / 2, place + 0.1, f"{own.share:.0%}", ha="center", va="center", fontsize=7.5)
        if own.shuffled is not None:
            reach = min(1.0, left + own.shuffled)
            axis.plot([reach] * 2, [place - _HEIGHT / 2, place - _HEIGHT / 6], color=style.INK, lw=1.4)
        left += own.share


def _named(factor: str) -> str:
    return "window to window" if factor == WINDOW else factor
