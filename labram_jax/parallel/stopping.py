"""Asking a run to stop: a signal, or the preemption notice of a cluster; obeyed within a time, wherever the run is."""

import os
import signal
import sys
import threading
import time

from jax.experimental import multihost_utils

from labram_jax.errors import STOPPED
from labram_jax.parallel import processes

LOOK_SECONDS = 0.2


class StopRequest:
    """Context in which SIGTERM and the first Ctrl-C are remembered instead of obeyed at once.

    A thread of its own sees them also while the main thread is in a compiler or waits for a device. Where nothing is at
    stake it ends the process then and there, and otherwise after `seconds`, with exit code 75 in both cases: what is on
    disk is whole at every moment. More signals change nothing, except that a second Ctrl-C interrupts.

    Of several processes the notice reaches one or all, at different times; JAX's preemption service agrees on a step
    for them. It has its own handler of SIGTERM, which must not be replaced, and to which Ctrl-C is handed on.

    Args:
        seconds: how long a checkpoint may take.

    Attributes:
        at_stake: whether steps were done that no checkpoint holds; set by who does them.
    """

    def __init__(self, seconds: float):
        self.at_stake = False
        self._seconds = seconds
        self._asked = False
        self._agreed, self._looks = False, 0
        self._before: dict[int, object] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="labram-jax stop request", daemon=True)

    def __enter__(self) -> "StopRequest":
        self._several = processes.several()
        if threading.current_thread() is threading.main_thread():
            # Python calls handlers between two of its own instructions, but writes to this pipe at once.
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._wakeup = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            for number in (signal.SIGINT,) if self._several else (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        self._watcher.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self._watcher.join()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup)
            for end in self._pipe:
                os.close(end)

    def asked(self) -> bool:
        """Whether to stop now; the same answer on every process, as all of them must ask at the same places."""
        if not self._several:
            return self._asked
        # The service agrees on one of the numbers that it is asked with, and these must follow one upon the other.
        self._looks += 1
        self._agreed |= multihost_utils.reached_preemption_sync_point(self._looks)
        return self._agreed

    def _handle(self, number, frame) -> None:
        del frame
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
            if self._several:
                signal.raise_signal(signal.SIGTERM)

    def _watch(self) -> None:
        while not self._noticed():
            if self._over.wait(LOOK_SECONDS):
                return
        self._asked = True
        if self.at_stake:
            print("\nasked to stop: a checkpoint follows this step", file=sys.stderr, flush=True)
        deadline = time.monotonic() + self._seconds
        while self.at_stake and time.monotonic() < deadline:
            if self._over.wait(LOOK_SECONDS):
                return
        what = f"no checkpoint within {self._seconds:g} s" if self.at_stake else "while nothing was at stake"
        if not self._over.is_set():
            processes.leave(STOPPED, f"stopped as asked, {what}: the same command goes on from the last checkpoint")

    def _noticed(self) -> bool:
        """Whether a signal has come, to this process or, where there are several, to any."""
        if self._several:
            return processes.preempted()
        if not self._before:
            return False
        try:
            return bool(set(os.read(self._pipe[0], 64)) & {signal.SIGTERM, signal.SIGINT})
        except BlockingIOError:
            return False
