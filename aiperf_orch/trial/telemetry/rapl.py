"""Energy of the processor packages by RAPL, as Linux shows it in /sys/class/powercap.

Format: https://docs.kernel.org/power/powercap/powercap.html (`energy_uj`, `max_energy_range_uj`, `name`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from aiperf_orch.trial.telemetry.counters import EnergyCounter
from aiperf_orch.trial.telemetry.source import read_number, read_text, scaled, sum_known

POWERCAP: Final = Path("/sys/class/powercap")


class Rapl:
    """The packages of the node.

    Attributes:
        counted: Whether there are packages, and the kernel permits reading all of them.
    """

    def __init__(self, powercap: Path) -> None:
        self._counters: dict[Path, EnergyCounter] = {}
        # psys and the mmio zones contain the same joules again; zones of zones (core, dram) are parts
        for zone in sorted(powercap.glob("intel-rapl:*")):
            if zone.name.count(":") == 1 and (read_text(zone / "name") or "").startswith("package"):
                bound = scaled(read_number(zone / "max_energy_range_uj"), 1e-6)
                self._counters[zone / "energy_uj"] = EnergyCounter(bound)
        self.counted = bool(self._counters) and all(read_number(path) is not None for path in self._counters)

    def joules(self) -> float | None:
        """Measure the energy of all packages; None when one cannot be read."""
        readings = [(counter, read_number(path)) for path, counter in self._counters.items()]
        return sum_known([counter.add(scaled(microjoules, 1e-6)) for counter, microjoules in readings])
