"""Measures how time and peak memory of preparation grow with the length of a recording.

    python benchmarks/long_recordings.py
    python benchmarks/long_recordings.py --hours 1 4 --folder /scratch

Each recording is an EDF of noise, prepared by `labram-jax prepare folder` in a process of its own, whose peak memory is
its largest resident size. The figure is saved in `benchmarks/figures`.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro

from labram_jax.tables import text_table

ELECTRODES = (
    *("Fp1", "Fp2", "F3", "F4", "C3", "C4", "P3", "P4", "O1", "O2"),
    *("F7", "F8", "T7", "T8", "P7", "P8", "Fz", "Cz", "Pz"),
)
FIGURE = Path(__file__).parent / "figures" / "long_recordings.png"
# Microvolts of one step of the file's 16-bit samples.
_STEP = 0.1


@dataclass(frozen=True)
class Benchmark:
    """Prepares recordings of growing length, one at a time."""

    hours: tuple[float, ...] = (1.0, 4.0, 12.0, 24.0)
    """Lengths of the recordings."""
    rate_hz: int = 256
    """Their rate."""
    folder: Path | None = None
    """Where recordings and corpora are written, and removed again; by default the system's temporary folder."""
    figure: Path = FIGURE
    """Where the figure is saved."""


class Measured(NamedTuple):
    """What one preparation took."""

    hours: float
    seconds: float
    processor_seconds: float
    gigabytes: float


def main(benchmark: Benchmark) -> None:
    found = []
    for hours in benchmark.hours:
        with tempfile.TemporaryDirectory(dir=benchmark.folder) as folder:
            write_recording(Path(folder) / "recordings" / "long.edf", hours, benchmark.rate_hz)
            found.append(measure(Path(folder), hours))
            print(f"{hours:g} h: {found[-1].seconds:.0f} s, {found[-1].gigabytes:.2f} GB", flush=True)
    rows = [
        [f"{row.hours:g}", f"{row.processor_seconds:.0f}", f"{row.seconds:.0f}", f"{row.gigabytes:.2f}"]
        for row in found
    ]
    print(text_table(["hours", "processor s", "s (wall)", "peak GB"], rows))
    draw(found, benchmark)


def write_recording(path: Path, hours: float, rate: int) -> None:
    """Writes an EDF of 19 electrodes whose noise is smooth enough to pass for EEG; one minute of it repeats."""
    path.parent.mkdir(parents=True)
    records, count = round(hours * 3600), len(ELECTRODES)
    minute = np.random.default_rng(0).standard_normal((count, 60 * rate)).cumsum(axis=1)
    minute -= np.linspace(0, 1, 60 * rate) * minute[:, -1:]
    minute *= 20 / minute.std(axis=1, keepdims=True) / _STEP
    samples = minute.round().astype("<i2").reshape(count, 60, rate).transpose(1, 0, 2).copy()
    fields = [("0", 8), ("X X X X", 80), ("X", 80), ("01.01.20", 8), ("00.00.00", 8), (256 * (count + 1), 8)]
    fields += [("", 44), (records, 8), (1, 8), (count, 4)]
    fields += [(name, 16) for name in ELECTRODES] + [("", 80)] * count + [("uV", 8)] * count
    for limit in (f"{-32768 * _STEP:.1f}", f"{32767 * _STEP:.1f}", -32768, 32767):
        fields += [(limit, 8)] * count
    fields += [("", 80)] * count + [(rate, 8)] * count + [("", 32)] * count
    with path.open("wb") as file:
        for value, width in fields:
            file.write(str(value).encode().ljust(width))
        for record in range(records):
            file.write(samples[record % 60].tobytes())


def measure(folder: Path, hours: float) -> Measured:
    """Prepares the recordings in `folder` in one process and returns what that took."""
    command = [sys.executable, "-m", "labram_jax", "prepare", "folder", str(folder / "recordings"), str(folder / "out")]
    begin = time.monotonic()
    process = subprocess.Popen([*command, "--split-by", "none", "--jobs", "1"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"the preparation of {hours:g} h failed (status {status})")
    unit = 1 if sys.platform == "darwin" else 1024
    processor = usage.ru_utime + usage.ru_stime
    return Measured(hours, time.monotonic() - begin, processor, usage.ru_maxrss * unit / 1e9)


def draw(found: list[Measured], benchmark: Benchmark) -> None:
    """Saves peak memory against hours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    benchmark.figure.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    axes.plot([row.hours for row in found], [row.gigabytes for row in found], "o-")
    axes.set(
        xlabel=f"hours of {len(ELECTRODES)} electrodes at {benchmark.rate_hz} Hz",
        ylabel="peak memory of the process in GB",
        ylim=(0, None),
        xlim=(0, None),
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(benchmark.figure, dpi=150)


if __name__ == "__main__":
    main(tyro.cli(Benchmark))
