"""Energy from counters and from measurements of power, and the mean of a power since the previous line."""

from __future__ import annotations

import time
from typing import Final

_MAX_COUNTER_GAP: Final = 60.0  # seconds after which a counter may have wrapped around more than once
_MAX_POWER_GAP: Final = 10.0  # seconds between two measurements of power, of which nothing is known


class EnergyCounter:
    """Joules since the first reading of a counter.

    Args:
        bound: Joules at which the counter wraps around to 0; None for a counter that only grows.
    """

    def __init__(self, bound: float | None = None) -> None:
        self._bound = bound
        self._last: float | None = None
        self._last_time = 0.0
        self._broken = False
        self._total = 0.0

    def add(self, reading: float | None) -> float | None:
        """Add a reading; return the joules so far.

        None without a reading, and forever after a reading from which the sum cannot be computed.
        """
        present = time.monotonic()
        if reading is not None and self._last is not None:
            increase = reading - self._last
            if self._bound is None:
                self._broken = self._broken or increase < 0  # the driver was reloaded
            else:
                self._broken = self._broken or present - self._last_time > _MAX_COUNTER_GAP
                increase = increase if increase >= 0 else increase + self._bound
            self._total += increase
        if reading is not None:
            self._last, self._last_time = reading, present
        return None if reading is None or self._broken else self._total


class PowerIntegral:
    """Joules since the first measurement of a power, by the trapezoidal rule."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        self._broken = False
        self._total = 0.0

    def add(self, present: float, watts: float | None) -> float | None:
        """Add a measurement; return the joules so far.

        Args:
            present: Time of the measurement in seconds.
            watts: The power; None where it was not measured.

        Returns:
            The joules; None without a measurement, and forever after a gap of more than 10 s.
        """
        if watts is None:
            return None
        if self._last is not None:
            seconds = present - self._last[0]
            self._broken = self._broken or seconds > _MAX_POWER_GAP
            self._total += seconds * (watts + self._last[1]) / 2
        self._last = (present, watts)
        return None if self._broken else self._total


class MeanPower:
    """Mean of the measurements of a power since it was taken last."""

    def __init__(self) -> None:
        self._values: list[float] = []

    def add(self, watts: float | None) -> None:
        """Add a measurement; None where there is none."""
        if watts is not None:
            self._values.append(watts)

    def take(self) -> float | None:
        """Return the mean in watts, and start anew; None without a measurement."""
        mean = round(sum(self._values) / len(self._values), 1) if self._values else None
        self._values.clear()
        return mean
