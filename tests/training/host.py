"""`labram-jax` as one process of several, which notes the windows that it reads; a command for other processes.

python host.py NOTES train ...

A line of NOTES-PROCESS.jsonl is a batch: {"training": bool, "windows": [...]}. With STOP_AT=N the last process is
asked to stop after N batches of training, which from then on come slowly, because that takes a second to get around.
With PAUSE=SECONDS every batch comes slowly.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from labram_jax import cli
from labram_jax.data import pipeline
from labram_jax.parallel.processes import PROCESS, PROCESSES

ENDLESS = 10**6


def noted(batches, notes: Path, stop_at: int, pause: float):
    """`pipeline.batches` that notes what passes by."""

    def noting(dataset, *arguments):
        training = len(dataset) > ENDLESS
        for number, batch in enumerate(batches(dataset, *arguments), start=1):
            windows = batch["window_ids"][batch["window_ids"] >= 0]
            with notes.open("a") as file:
                file.write(json.dumps({"training": training, "windows": windows.tolist()}) + "\n")
            if training and stop_at and number >= stop_at:
                if number == stop_at and os.environ[PROCESS] == str(int(os.environ[PROCESSES]) - 1):
                    signal.raise_signal(signal.SIGTERM)
                time.sleep(0.5)
            time.sleep(pause)
            yield batch

    return noting


if __name__ == "__main__":
    where = Path(f"{sys.argv[1]}-{os.environ[PROCESS]}.jsonl")
    pipeline.batches = noted(
        pipeline.batches, where, int(os.environ.get("STOP_AT", 0)), float(os.environ.get("PAUSE", 0))
    )
    sys.exit(cli.main(sys.argv[2:]))
