"""Asking a run to stop: a signal, or the preemption notice of a cluster."""

import signal
import sys
import threading

import jax
from jax.experimental import multihost_utils


class StopRequest:
    """Context in which SIGTERM and the first Ctrl-C are remembered instead of obeyed at once.

    Of several processes the notice reaches one or all, at different times; JAX's preemption service agrees on a step
    for them. It has its own handler of SIGTERM, which must not be replaced, and to which Ctrl-C is handed on.
    """

    def __init__(self):
        self._asked = False
        self._agreed, self._looks = False, 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT) if jax.process_count() == 1 else (signal.SIGINT,):
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number, frame) -> None:
        del frame
        self._asked = True
        signal.signal(number, self._before[number])
        if jax.process_count() > 1:
            signal.raise_signal(signal.SIGTERM)
        print("\nstopping after this step with a checkpoint; once more stops at once", file=sys.stderr, flush=True)

    def asked(self) -> bool:
        """Whether to stop now; the same answer on every process, as all of them must ask at the same places."""
        if jax.process_count() == 1:
            return self._asked
        # The service agrees on one of the numbers that it is asked with, and these must follow one upon the other.
        self._looks += 1
        self._agreed |= multihost_utils.reached_preemption_sync_point(self._looks)
        return self._agreed
