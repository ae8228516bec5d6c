"""Processors and memory of the node: their use by psutil, their energy by RAPL or, without it, by Cray's counters."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiperf_orch.trial.telemetry.cray import CrayProcessors
from aiperf_orch.trial.telemetry.rapl import Rapl
from aiperf_orch.trial.telemetry.source import value_or_none


class Processors:
    """Lines and energy of the processors.

    Attributes:
        counted: Whether their energy is part of the node's.
    """

    def __init__(self, powercap: Path | None, pm_counters: Path | None) -> None:
        """Look for counters of energy.

        Args:
            powercap: The kernel's directory of RAPL; None not to read it.
            pm_counters: Cray's directory; None not to read it.
        """
        import psutil

        self._psutil = psutil
        self._psutil.cpu_percent()  # each call returns the share since the previous one
        rapl = Rapl(powercap) if powercap else None
        cray = CrayProcessors(pm_counters) if pm_counters else None
        self._energy = next((energy for energy in (rapl, cray) if energy is not None and energy.counted), None)
        self.counted = self._energy is not None
        self._joules: float | None = None
        self._previous: tuple[float, float] | None = None

    def sample(self) -> None:
        """Do nothing: the mean power follows from the energy."""

    def joules(self) -> float | None:
        """Measure the energy of the processors."""
        self._joules = self._energy.joules() if self._energy else None
        return self._joules

    def line(self) -> dict[str, Any]:
        """Return the utilization of all cores, used memory in bytes, and mean watts, by the energy measured last."""
        utilization = value_or_none(lambda: round(self._psutil.cpu_percent() / 100, 4))
        memory = value_or_none(lambda: self._psutil.virtual_memory().used)
        return {"cpu": utilization, "memory_bytes": memory, "cpu_watts": self._watts()}

    def _watts(self) -> float | None:
        present, previous = time.monotonic(), self._previous
        self._previous = None if self._joules is None else (present, self._joules)
        if previous is None or self._joules is None or present == previous[0]:
            return None
        return round((self._joules - previous[1]) / (present - previous[0]), 1)


def has_all_cores(environment: Mapping[str, str]) -> bool:
    """Whether this process may use every core of the node: by its affinity, and by the batch system's variables."""
    cores = os.cpu_count() or 0
    allocated = [environment.get(name, "") for name in ("SLURM_CPUS_ON_NODE", "NCPUS")]
    return min(len(os.sched_getaffinity(0)), *(int(number) for number in allocated if number.isdigit()), cores) == cores
