"""The trial's accelerators: the driver that is there, their mean power, and their energy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from aiperf_orch.trial.telemetry.amd import find_amd
from aiperf_orch.trial.telemetry.ascend import find_ascend
from aiperf_orch.trial.telemetry.counters import EnergyCounter, MeanPower, PowerIntegral
from aiperf_orch.trial.telemetry.nvml import find_nvidia
from aiperf_orch.trial.telemetry.source import Driver, sum_known


class Accelerators:
    """Lines and energy of a driver's accelerators.

    Attributes:
        counted: Whether the trial has any. Parts of a device (MIG) are counted, but their energy is unknown.
    """

    def __init__(self, nvml: Any = None) -> None:
        """Look for drivers, of NVIDIA, AMD and Huawei in this order.

        Args:
            nvml: Replacement for the module `pynvml`, for tests.
        """
        found = find_nvidia(nvml) or find_amd() or find_ascend()
        self._driver: Driver | None = found
        self.counted = found is not None and found.counted
        count = len(found.numbers) if found else 0
        self._counters = [EnergyCounter() for _ in range(count)]
        self._integrals = [PowerIntegral() for _ in range(count)]
        self._means = [MeanPower() for _ in range(count)]
        self._due = 0.0

    def sample(self) -> None:
        """Measure power, unless the driver asks for a pause."""
        if self._driver is not None and self._driver.numbers and time.monotonic() >= self._due:
            self._measure(self._driver)

    def joules(self) -> float | None:
        """Measure the energy of all accelerators; None when that of one is unknown."""
        if self._driver is None or not self._driver.numbers:
            return None
        readings = self._driver.joules()
        if readings is None:
            return sum_known(self._measure(self._driver))
        return sum_known([counter.add(reading) for counter, reading in zip(self._counters, readings, strict=True)])

    def line(self) -> dict[str, Any]:
        """Return a list of what is known of each accelerator."""
        if self._driver is None or not self._driver.numbers:
            return {"accelerators": []}
        states = self._driver.states()
        return {
            "accelerators": [
                {
                    "index": number,
                    "use": state.use,
                    "memory_bytes": state.memory_bytes,
                    "watts": mean.take(),
                    "temperature_celsius": state.temperature_celsius,
                    "throttled": state.throttled,
                }
                for number, state, mean in zip(self._driver.numbers, states, self._means, strict=True)
            ]
        }

    def close(self) -> None:
        """End what the driver has started."""
        if self._driver is not None:
            self._driver.close()

    def _measure(self, driver: Driver) -> Sequence[float | None]:
        watts = driver.watts()
        present = time.monotonic()
        self._due = present + driver.pause
        for mean, value in zip(self._means, watts, strict=True):
            mean.add(value)
        return [integral.add(present, value) for integral, value in zip(self._integrals, watts, strict=True)]
