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

    Args:
        cost: of one step.
    """

    def __init__(self, cost: StepCost = StepCost()):
        self._cost = cost
        self._clock: float | None = None  # starts after the first program, which was also compiled
        self._restart(0.0)

    def _restart(self, waited: float) -> None:
        self._sums: dict[str, float] = {}
        self._counted, self._skipped, self._timed, self._patches, self._waited = 0, 0, 0, 0.0, waited

    def add(self, metrics: Mapping[str, float]) -> None:
        """Counts one step; "patches" is summed for the speed, everything else is averaged."""
        for name, value in metrics.items():
            self._sums[name] = self._sums.get(name, 0.0) + value
        self._counted += 1
        if self._clock is not None:
            self._timed += 1
            self._patches += metrics.get("patches", 0.0)

    def add_skipped(self) -> None:
        """Counts one step that changed nothing; its metrics are in no mean."""
        self._skipped += 1
        if self._clock is not None:
            self._timed += 1

    def start_clock(self, waited: float) -> None:
        """From now on steps are timed; `waited` as for `close`. Later calls do nothing."""
        if self._clock is None:
            self._clock, self._waited = time.monotonic(), waited

    def close(self, waited: float) -> tuple[dict[str, float], float]:
        """Means and speeds, the seconds that they are of, and a new interval from now on.

        `waited`: seconds that the host has waited for data since training began.
        """
        now = time.monotonic()
        values = {name: total / self._counted for name, total in self._sums.items() if name != "patches"}
        values["skipped_steps"] = self._skipped
        seconds = now - self._clock if self._timed else 0.0
        if seconds > 0:
            values |= self._speeds(seconds, waited - self._waited)
        self._restart(waited)
        if self._clock is not None:
            self._clock = now
        return values, seconds

    def _speeds(self, seconds: float, waited: float) -> dict[str, float]:
        rate, cost = self._timed / seconds, self._cost
        values = {
            "step_seconds": 1 / rate,
            "data_wait_seconds": waited / self._timed,
            "patches_per_second": self._patches / seconds,
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

    def pause(self, waited: float) -> None:
        """Leaves out of the speed what happened since the interval was closed: an evaluation, a checkpoint."""
        if self._clock is not None and not len(self):
            self._clock, self._waited = time.monotonic(), waited

    def __len__(self) -> int:
        return self._counted + self._skipped
