"""Steps that changed nothing because their numbers had gone wrong: told, written down, and counted."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from labram_jax.checkpoints.files import SKIPPED
from labram_jax.config import GuardConfig
from labram_jax.training.metricslog import read_steps
from labram_jax.training.telemetry import Telemetry

# Recordings that a report names.
_MOST = 5
WindowsOf = Callable[[int], Sequence[Mapping]]


class GoneWrong(Exception):
    """So many steps in a row have changed nothing that training goes back; `done` steps were done by then."""

    def __init__(self, done: int):
        super().__init__(done)
        self.done = done


class Skips:
    """What a run knows of its steps that changed nothing.

    Args:
        run: the run's directory; a line for each of them goes into its skipped.jsonl.
        options: how many in a row are too many.
        telemetry: who writes and tells.
        windows_of: step (from 0) -> the windows of its batch, each a mapping with "corpus", "recording" and
            "start_seconds"; None where nobody knows.
    """

    def __init__(self, run: Path, options: GuardConfig, telemetry: Telemetry, windows_of: WindowsOf | None):
        self._path, self._options, self._telemetry = run / SKIPPED, options, telemetry
        self._windows_of = windows_of
        self._last = ""

    def take(self, step: int, values: Mapping[str, float], in_a_row: int) -> None:
        """Notes that `step` changed nothing, the last of so many; raises `GoneWrong` where they are too many."""
        self._last = what = _what(values)
        windows = [] if self._windows_of is None else self._windows_of(step)
        line = {"why": what, "loss": values["loss"], "grad_norm": values["grad_norm"], "windows": list(windows)}
        self._telemetry.log_skipped(step + 1, line)
        if in_a_row == 1:
            self._telemetry.say(f"step {step + 1} changed nothing, since {what}: its windows are in {self._path}")
        if in_a_row >= self._options.skips_in_a_row:
            raise GoneWrong(step + 1)

    def tell_return(self, done: int, saved: int) -> None:
        self._telemetry.say(
            f"{self._options.skips_in_a_row} steps in a row changed nothing: going back to what step {saved} left, and "
            f"on behind step {done}, without what lies between"
        )

    def report(self, done: int, run: Path, saved: int | None) -> str:
        """The sentence with which a run ends that has gone back often enough."""
        kept = "no checkpoint was written yet" if saved is None else f"the checkpoint of step {saved} is good"
        branch = "" if saved is None else f" in a new run with --branch-from {run}@{saved}"
        often = self._most_often()
        named = f" (most often in them: {often})" if often else ""
        return (
            f"{self._last} at step {done}, as at the {self._options.skips_in_a_row - 1} before it, after going back "
            f"{self._options.go_back} times, so training stopped ({kept}): look at the windows of such steps in "
            f"{self._path}{named}, or lower optimizer.learning_rate, lengthen optimizer.warmup_epochs or set "
            f"optimizer.clip_norm{branch}."
        )

    def _most_often(self) -> str:
        """The recordings that the most steps of skipped.jsonl had windows of."""
        self._telemetry.flush()
        counts = Counter()
        for line in read_steps(self._path):
            counts.update({(window["corpus"], window["recording"]) for window in line.get("windows", ())})
        return ", ".join(f"{recording} of {corpus} ({n} steps)" for (corpus, recording), n in counts.most_common(_MOST))


def _what(values: Mapping[str, float]) -> str:
    """What is wrong with a step, in words."""
    names = {"loss": "the loss", "grad_norm": "the norm of the gradients"}
    for name, words in names.items():
        if not math.isfinite(values[name]):
            return f"{words} is {values[name]}"
    told = " and ".join(f"{words} is {values[name]:.4g}" for name, words in names.items())
    return f"{told}, far above the last ones"
