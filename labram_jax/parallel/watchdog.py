"""A process that makes no progress ends, and says where each of its threads is."""

import faulthandler
import threading
import time

from labram_jax.errors import MAY_PASS
from labram_jax.parallel import processes

# How often it looks; and how long after it the system's own timer follows, for which no thread need come to its turn.
LOOK_SECONDS, BACKSTOP_SECONDS = 5.0, 60.0
STDERR = 2  # as the system has it: notebooks put something else in its place


class Watchdog:
    """Context that must hear `beat` every `seconds`, or else ends the process: it may pass, and is started again.

    The stacks of all threads go to the standard error. `seconds` None watches nothing.
    """

    def __init__(self, seconds: float | None):
        self._seconds, self._beats = seconds, 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="labram-jax watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        if self._seconds is not None:
            self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        if self._seconds is not None:
            self._thread.join()
            faulthandler.cancel_dump_traceback_later()

    def beat(self) -> None:
        """There was progress."""
        self._beats += 1

    def _watch(self) -> None:
        heard, since = None, time.monotonic()
        while not self._over.wait(min(LOOK_SECONDS, self._seconds / 4)):
            now = time.monotonic()
            if self._beats != heard:
                heard, since = self._beats, now
                faulthandler.dump_traceback_later(self._seconds + BACKSTOP_SECONDS, exit=True, file=STDERR)
            elif now - since > self._seconds:
                faulthandler.cancel_dump_traceback_later()
                faulthandler.dump_traceback(STDERR)
                what = f"no step within {self._seconds / 60:g} minutes; where its threads are stands above"
                processes.leave(MAY_PASS, f"{what}: start the same command again, or raise loop.watchdog_minutes")
