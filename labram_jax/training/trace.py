"""A trace of some steps on request, for xprof, TensorBoard and Perfetto."""

import contextlib
from pathlib import Path

import jax

PROFILE = "profile"
# Steps of a start that are left alone: the first ones are compiled, and fill the queue of the devices.
WARM_STEPS = 10


class Trace:
    """Traces `steps` steps, or a few more where several run as one program, in the first process.

    Args:
        run: the run's directory; the trace goes into run/profile.
        steps: how many; 0 traces nothing.
        start: the first step of this start.
        total: steps of the whole training.
    """

    def __init__(self, run: Path, steps: int, start: int, total: int):
        self._folder = run / PROFILE
        self._begin = min(start + WARM_STEPS, max(start + 1, total - steps))
        self._end: int | None = None  # while it is on
        self._steps = steps if jax.process_index() == 0 else 0

    def __enter__(self) -> "Trace":
        return self

    def __exit__(self, *_) -> None:
        if self._end is not None:
            self._stop()

    def step(self, number: int) -> contextlib.AbstractContextManager:
        """What the program that begins with step `number` is to be dispatched in; begins the trace when it is time."""
        if self._steps and number >= self._begin:
            jax.profiler.start_trace(self._folder)
            self._end, self._steps = number + self._steps, 0
        if self._end is None:
            return contextlib.nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def complete(self, done: int) -> bool:
        """Whether all that is to be traced was dispatched; the caller then waits for it and calls `finish`."""
        return self._end is not None and done >= self._end

    def finish(self) -> str:
        """Ends the trace; returns what to tell."""
        self._stop()
        return (
            f"the trace is in {self._folder}: pip install xprof and xprof --logdir {self._folder} show it, and "
            "https://ui.perfetto.dev opens its .trace.json.gz"
        )

    def _stop(self) -> None:
        self._end = None
        jax.profiler.stop_trace()
