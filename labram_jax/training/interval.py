"""What is logged of some steps together: means of their metrics, and how fast they went."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import jax


@dataclass(frozen=True)
class StepCost:
    """What one step goes through by count, padding of rows included; None where nobody knows.

    Attributes:
        eeg_seconds: of recordings, all their electrodes at once, on average.
        flops: floating-point operations that the model asks for; what is recomputed does not count.
        peak_flops_per_second: of all devices together, in the type in which products are computed.
    """

    eeg_seconds: float | None = None
    flops: float | None = None
    peak_flops_per_second: float | None = None


class Interval:
    """Collects the metrics of steps until they are logged.

    Those of several steps may reach the host together, and an interval may end among them: each has the same share of
    the time since others came.

    Args:
        cost: of one step.
    """

    def __init__(self, cost: StepCost = StepCost()):
        self._cost = cost
        self._clock: float | None = None  # starts after the first program, which was also compiled
        self._waited_before = 0.0
        self._shares: tuple[float, float] | None = None  # of one step, in the time and in the waiting
        self._restart()

    def _restart(self) -> None:
        self._sums: dict[str, float] = {}
        self._counted, self._skipped, self._timed = 0, 0, 0
        self._patches, self._seconds, self._waited = 0.0, 0.0, 0.0

    def arrive(self, steps: int, waited: float) -> None:
        """The metrics of so many steps are on the host; each is then added.

        `waited`: seconds that the host has waited for data since training began.
        """
        seconds, waiting = self._move_clock(waited)
        self._shares = None if seconds is None else (seconds / steps, waiting / steps)

    def pause(self, waited: float) -> None:
        """Leaves out of the speed what happened since metrics came: an evaluation, a checkpoint."""
        if self._clock is not None:
            self._move_clock(waited)

    def _move_clock(self, waited: float) -> tuple[float | None, float]:
        """To now; returns the seconds that it moved by, None at its start, and those of them that were waiting."""
        now = time.monotonic()
        moved = None if self._clock is None else now - self._clock
        waiting = waited - self._waited_before
        self._clock, self._waited_before = now, waited
        return moved, waiting

    def add(self, metrics: Mapping[str, float]) -> None:
        """Counts one step; "patches" is summed for the speed, everything else is averaged."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._counted += 1
        self._add_time(metrics.get("patches", 0.0))

    def add_skipped(self) -> None:
        """Counts one step that changed nothing; its metrics are in no mean."""
        self._skipped += 1
        self._add_time(0.0)

    def _add_time(self, patches: float) -> None:
        if self._shares is None:
            return
        seconds, waited = self._shares
        self._timed, self._patches = self._timed + 1, self._patches + patches
        self._seconds, self._waited = self._seconds + seconds, self._waited + waited

    def close(self) -> tuple[dict[str, float], float]:
        """Means and speeds, the seconds that they are of, and a new interval from now on."""
        values = {name: total / self._counted for name, total in self._sums.items() if name != "patches"}
        values["skipped_steps"] = self._skipped
        seconds = self._seconds
        if seconds > 0:
            values |= self._speeds()
        self._restart()
        return values, seconds

    def _speeds(self) -> dict[str, float]:
        rate, cost = self._timed / self._seconds, self._cost
        values = {
            "step_seconds": 1 / rate,
            "data_wait_seconds": self._waited / self._timed,
            "patches_per_second": self._patches / self._seconds,
        }
        if cost.eeg_seconds is not None:
            values["eeg_hours_per_second"] = rate * cost.eeg_seconds / 3600
        if cost.flops is not None:
            values["model_flops_per_second"] = rate * cost.flops
            if cost.peak_flops_per_second is not None:
                values["share_of_peak"] = rate * cost.flops / cost.peak_flops_per_second
        peaks = [device.memory_stats() or {} for device in jax.local_devices()]
        if all("peak_bytes_in_use" in peak for peak in peaks):
            values["peak_memory_bytes"] = max(peak["peak_bytes_in_use"] for peak in peaks)
        return values

    def __len__(self) -> int:
        return self._counted + self._skipped
