"""What a training knows of probes of its frozen encoder: when they come, who makes them, and how they are told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

PyTree = Any
Scores = dict[str, dict[str, float]]
# What the log calls scores: "probe/CORPUS", and "probe/CORPUS/band_powers".
PROBE, BAND_POWERS = "probe/", "band_powers"


@dataclass(frozen=True)
class Probe:
    """Linear maps that are fitted to features of the encoder now and then; their scores get splits of their own.

    Attributes:
        every_epochs: how often.
        metrics: of each split, "probe/CORPUS", the metric that counts.
        scores: (params, stopping) -> scores of every split, the same on every process; None if it was stopped, which
            is asked between batches and must be answered the same on every process.
        references: scores without any encoder, by splits such as "probe/CORPUS/band_powers".
        references_of: the splits that `references` gives.
    """

    every_epochs: float
    metrics: Mapping[str, str]
    scores: Callable[[PyTree, Callable[[], bool]], Scores | None]
    references: Callable[[], Scores]
    references_of: tuple[str, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """All that the log has a line of as soon as a run has begun."""
        return (*self.references_of, *self.metrics)

    def told(
        self, step: int, split: str, scores: Mapping[str, float], first: Callable[[str], Mapping[str, float]]
    ) -> str:
        """A probe's score in a few words, and what stands beside it; `first` gives the first line of a split."""
        metric = self.metrics[split]
        begun, powers = first(split), first(f"{split}/{BAND_POWERS}")
        beside = [f"{begun[metric]:.4g} at step {begun['step']}"] if begun.get("step", step) < step else []
        beside += [f"{powers[metric]:.4g} by band powers"] if powers else []
        return f"{metric} {scores[metric]:.4g}" + (f" ({', '.join(beside)})" if beside else "")
