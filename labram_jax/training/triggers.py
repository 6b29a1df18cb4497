"""When a training is evaluated, probed and saved, and which steps may therefore run as one program."""

import math
import time
from collections.abc import Callable, Collection

from labram_jax.config import LoopConfig
from labram_jax.parallel.processes import of_first

EVALUATE, PROBE, SAVE = "evaluate", "probe", "save"
# How often processes agree on the time: they wait for each other and for their devices then.
LOOK_SECONDS = 5.0


class Triggers:
    """Says after which steps to evaluate, to probe and to save; the same on every process, which all must ask the same.

    What epochs and steps decide follows from the step alone. Minutes are looked at after every `log_every` steps.

    Args:
        options: how often.
        total: steps of the whole training, after the last of which all is due.
        steps_per_epoch: batches in one epoch.
        events: steps before which something happens.
        acts: of `EVALUATE` and `SAVE` those that there are.
        probe_every_epochs: how often to probe, if there is a probe.
        clock: seconds.
    """

    def __init__(
        self,
        options: LoopConfig,
        total: int,
        steps_per_epoch: int,
        events: Collection[int],
        acts: Collection[str] = (EVALUATE, SAVE),
        probe_every_epochs: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._options, self._total, self._events = options, total, sorted(events)
        self._periods = {act: _periods(options, act, steps_per_epoch) for act in acts}
        if probe_every_epochs is not None:
            self._periods[PROBE] = (_steps_of(probe_every_epochs, steps_per_epoch),)
        minutes = {act: getattr(options, f"{act}_every_minutes") for act in acts}
        self._clock = _Clock({act: 60 * value for act, value in minutes.items() if value}, options.log_every, clock)

    def due(self, done: int) -> set[str]:
        """What to do now that `done` steps are done; to be asked once after every program, in order."""
        by_steps = {act for act in self._periods if self.due_by_steps(act, done)}
        return by_steps | self._clock.due(done)

    def due_by_steps(self, act: str, done: int) -> bool:
        """Whether an act is due after `done` steps whatever the clock says."""
        return act in self._periods and (
            done == self._total or any(done % period == 0 for period in self._periods[act])
        )

    def count(self, act: str, after: int, done: int) -> int:
        """How often an act was due by steps after more than `after` steps, up to `done`."""
        return sum(self.due_by_steps(act, step) for step in range(after + 1, done + 1))

    def steps_from(self, step: int) -> range:
        """The steps of the program that begins with `step`: one, or `steps_per_dispatch` if nothing comes between."""
        several = self._options.steps_per_dispatch
        return range(step, step + (several if step + several <= self._next_end(step) else 1))

    def _next_end(self, step: int) -> int:
        """Steps done when something else is next to happen: an event, the end of a logged interval, one of the acts."""
        if step in self._events:
            return step + 1  # an event takes the batch of its own step
        periods = {self._options.log_every, *(period for own in self._periods.values() for period in own)}
        ends = [(step // period + 1) * period for period in periods]
        return min(*ends, *(event for event in self._events if event > step), self._total)


def _periods(options: LoopConfig, act: str, steps_per_epoch: int) -> tuple[int, ...]:
    """The steps after every how many of which an act is due."""
    epochs, steps = (getattr(options, f"{act}_every_{unit}") for unit in ("epochs", "steps"))
    by_epochs = None if epochs is None else _steps_of(epochs, steps_per_epoch)
    return tuple(period for period in (by_epochs, steps) if period is not None)


def _steps_of(epochs: float, steps_per_epoch: int) -> int:
    return max(1, round(epochs * steps_per_epoch))


class _Clock:
    """Says which acts are due by the clock of the first process, which all processes look at after the same steps."""

    def __init__(self, seconds: dict[str, float], log_every: int, clock: Callable[[], float]):
        self._seconds, self._log_every, self._clock = seconds, log_every, clock
        self._start = clock()
        self._last = dict.fromkeys(seconds, 0.0)
        self._looked: tuple[int | None, float] = (None, 0.0)  # steps done and seconds at the last look
        self._next = 0

    def due(self, done: int) -> set[str]:
        if not self._seconds or done < self._next or done % self._log_every:
            return set()
        now = of_first(self._clock() - self._start)
        due = {act for act, seconds in self._seconds.items() if now - self._last[act] >= seconds}
        self._last |= dict.fromkeys(due, now)
        self._next = done + self._intervals_until_look(done, now) * self._log_every
        self._looked = (done, now)
        return due

    def _intervals_until_look(self, done: int, now: float) -> int:
        """Logged intervals that pass, at the pace since the last look, until an act is due or it is time to agree."""
        before, then = self._looked
        if before is None or now <= then:
            return 1
        intervals_per_second = (done - before) / self._log_every / (now - then)
        left = min(self._last[act] + seconds - now for act, seconds in self._seconds.items())
        return max(1, math.floor(min(left, LOOK_SECONDS) * intervals_per_second))
