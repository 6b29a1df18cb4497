"""Starts two workers of a build that sleep, and writes a file named by the process number of each into a folder."""

import os
import signal
import sys
import time
from pathlib import Path

from labram_jax.data_prep.workers import processes


def sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    with processes(2) as run_all:
        list(run_all(sleep, [Path(sys.argv[1])] * 2))
