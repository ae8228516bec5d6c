"""Power of the whole node and energy of its processors by HPE Cray's `pm_counters`.

Files and units: "User Access to Compute Node Power Data" in the documentation of Cray System Management (Cray-HPE,
docs-csm). A file reads `27725 J 1571230862955436 us`: the value, its unit, and the time of the measurement.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any, Final

from aiperf_orch.trial.telemetry.counters import EnergyCounter, MeanPower
from aiperf_orch.trial.telemetry.source import read_text

PM_COUNTERS: Final = Path("/sys/cray/pm_counters")
_VALUE: Final = re.compile(r"([0-9]+) ([WJ])(?: [0-9]+ us)?")
_FRESH: Final = 1.0  # seconds in which `freshness`, which counts at 10 Hz, must have changed


class CrayNode:
    """Power of the node; used as a source.

    Args:
        folder: The directory of the counters.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = _Freshness(folder)
        self._mean = MeanPower()

    def sample(self) -> None:
        """Measure the power of the node."""
        if self._fresh.check():
            self._mean.add(_read(self._folder / "power", "W"))

    def line(self) -> dict[str, Any]:
        """Return the mean power of the node."""
        return {"node_watts": self._mean.take()}


class CrayProcessors:
    """Energy of the processors.

    Attributes:
        counted: Whether there is a counter for them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fresh = _Freshness(folder)
        self._counter = EnergyCounter()
        self._startup = _first_word(folder / "startup")
        self.counted = _read(folder / "cpu_energy", "J") is not None

    def joules(self) -> float | None:
        """Measure the energy; None once the controller was restarted (`startup`), and where counters stand still."""
        restarted = _first_word(self._folder / "startup") != self._startup
        if restarted or not self._fresh.check():
            return None
        return self._counter.add(_read(self._folder / "cpu_energy", "J"))


class _Freshness:
    """Whether the controller still writes the counters."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "freshness"
        self._changed: tuple[str | None, float] = ("", 0.0)

    def check(self) -> bool:
        present, count = time.monotonic(), _first_word(self._path)
        if count != self._changed[0]:
            self._changed = (count, present)
        return count is not None and present - self._changed[1] < _FRESH


def _first_word(path: Path) -> str | None:
    """What a file says without the time of the measurement."""
    return next(iter((read_text(path) or "").split()), None)


def _read(path: Path, unit: str) -> float | None:
    match = _VALUE.fullmatch(read_text(path) or "")
    return float(match[1]) if match and match[2] == unit else None
