"""Starts two workers of a build that sleep, and writes a file named by the process number of each into a folder."""

import os
import sys
import time
from pathlib import Path

from data_prep.workers import processes


def sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


if __name__ == "__main__":
    with processes(2) as run_all:
        list(run_all(sleep, [Path(sys.argv[1])] * 2))
