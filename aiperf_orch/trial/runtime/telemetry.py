"""Telemetry of a node during a trial: a line of measurements every few seconds, and the energy used. Loads no torch.

A thread of the node's task takes the samples, so that nothing waits for a driver; a query of the energy waits for a
bounded time. All of it is best effort: an unknown value is null, never 0, and no failure here affects the trial.

Energy is that of the trial's accelerators, by the driver's own counters (NVIDIA only), and of the processor packages by
RAPL where the trial has all cores of the node and the kernel permits reading them. The energy of a shared node is not
divided: then only that of the accelerators counts. `energy_of` names the parts.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TextIO

from aiperf_orch.records.base import EnergyOf
from aiperf_orch.records.events import NodeMeasurements
from aiperf_orch.util.units import format_time, now

_INTERVAL: Final = 5.0  # seconds between two lines
_MAX_LINES: Final = 8640  # 12 hours: 1.2 MB, and 0.6 MB more for each accelerator
_ANSWER_TIMEOUT: Final = 10.0  # seconds to wait for a driver's answer
_MAX_COUNTER_GAP: Final = 60.0  # seconds after which a counter may have wrapped around more than once
_POWERCAP: Final = Path("/sys/class/powercap")
_ENERGY_PARTS: Final[dict[tuple[bool, bool], EnergyOf | None]] = {
    (False, False): None,
    (False, True): "processors",
    (True, False): "accelerators",
    (True, True): "accelerators+processors",
}
"""Name of the measured parts, by whether accelerators and processors are counted."""


def combine_nodes(nodes: Sequence[NodeMeasurements]) -> NodeMeasurements:
    """Combine the measurements of all nodes.

    Energy is their sum; unknown when it is unknown for one node, or the nodes measured different parts.
    """
    parts = {node.energy_of for node in nodes}
    joules = _sum_known([node.energy for node in nodes])
    if joules is None or len(parts) != 1:
        return NodeMeasurements()
    return NodeMeasurements(energy=joules, energy_of=parts.pop())


class Telemetry:
    """Samples a node between `start` and `close`. Used from one thread, which must not fork meanwhile."""

    def __init__(
        self,
        path: Path | None,
        *,
        exclusive: bool = True,
        interval: float = _INTERVAL,
        nvml: Any = None,
        powercap: Path | None = None,
    ) -> None:
        """Keep the arguments; nothing is opened yet.

        Args:
            path: File to which lines are appended, one JSON object each, at most 8,640; None for no file.
            exclusive: Whether only this trial runs on the node; otherwise its energy is unknown.
            interval: Seconds between two lines.
            nvml: Replacement for the module `pynvml`, for tests.
            powercap: Replacement for the kernel's directory of energy counters, for tests. By default they are read
                where this process may use all cores of the node.
        """
        self._path, self._exclusive, self._interval, self._nvml = path, exclusive, interval, nvml
        self._powercap = powercap or (_POWERCAP if _has_all_cores(os.environ) else None)
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._change = threading.Condition()
        self._asked = self._answered = 0
        self._joules: float | None = None
        self._stopped = False
        self.energy_of: EnergyOf | None = None
        """Parts whose energy is measured, after the first call of `energy`; None where it is unknown."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError:  # the process cannot start another thread
            self._stopped = True

    def close(self) -> None:
        """Stop the thread; called once, also when it was never started."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_ANSWER_TIMEOUT)

    def energy(self) -> float | None:
        """Energy of this node so far in joules, from an arbitrary start: the difference of two calls is meaningful.

        None where it is unknown, or the driver does not answer in time.
        """
        if not self._exclusive:
            return None
        with self._change:
            # a driver that hangs costs the timeout only once
            timeout = _ANSWER_TIMEOUT if self._answered == self._asked else 0.0
            self._asked += 1
            number = self._asked
            self._change.notify_all()
            self._change.wait_for(lambda: self._answered >= number or self._stopped, timeout)
            return self._joules if self._answered >= number else None

    def since(self, energy_before: float | None) -> NodeMeasurements:
        """Measurements of this node since `energy` returned `energy_before`."""
        joules = None if energy_before is None else self.energy()
        if joules is None or energy_before is None:
            return NodeMeasurements()
        return NodeMeasurements(energy=joules - energy_before, energy_of=self.energy_of)

    def _run(self) -> None:
        # a signal delivered to this thread would not wake the main thread, which waits for it
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._sample()
        except Exception as error:
            print(f"telemetry ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def _sample(self) -> None:
        processors, accelerators = _Processors(self._powercap), _Accelerators(self._nvml)
        parts = _ENERGY_PARTS[accelerators.counted, processors.counted]
        lines = _LinesFile(self._path)
        due = time.monotonic()
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: self._stopped or self._asked > self._answered, max(due - time.monotonic(), 0.0)
                )
                if self._stopped:
                    return
                asked = self._asked
            sample: dict[str, Any] = {"time": format_time(now())}
            sample |= processors.read()
            sample["accelerators"] = accelerators.read()
            joules = _sum_known([part.joules for part in (accelerators, processors) if part.counted])
            with self._change:
                self._joules, self.energy_of, self._answered = joules, parts, asked
                self._change.notify_all()
            if time.monotonic() >= due:
                lines.append(sample | {"energy_joules": joules})
                due = max(due + self._interval, time.monotonic())


class _LinesFile:
    """File of JSON lines that ends after `_MAX_LINES`, and at the first line that cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        self._remaining = _MAX_LINES
        if path is not None:
            with suppress(OSError):
                self._file = path.open("a", encoding="utf-8", buffering=1)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._file is None:
            return
        self._remaining -= 1
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            print(f"telemetry: no more lines are written: {error.strerror}", file=sys.stderr, flush=True)
            self._remaining = 0
        if not self._remaining:
            with suppress(OSError):
                self._file.close()
            self._file = None


class _Counter:
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


class _Processors:
    """Processors and memory of the node.

    Attributes:
        joules: Energy of the processor packages at the last call of `read`; None when one could not be read.
        counted: Whether the packages are part of the node's energy. It never changes: differences would be wrong.
    """

    def __init__(self, powercap: Path | None) -> None:
        import psutil

        self._psutil = psutil
        self._psutil.cpu_percent()  # each call returns the share since the previous one
        self._counters: dict[Path, _Counter] = {}
        # psys and the mmio zones contain the same joules again; zones of zones (core, dram) are parts
        for zone in sorted(powercap.glob("intel-rapl:*")) if powercap else ():
            if zone.name.count(":") == 1 and (_read_text(zone / "name") or "").startswith("package"):
                bound = _read_number(zone / "max_energy_range_uj")
                self._counters[zone / "energy_uj"] = _Counter(None if bound is None else bound / 1e6)
        self.joules: float | None = None
        self.counted = bool(self._counters) and all(_read_number(path) is not None for path in self._counters)
        self._previous: tuple[float, float] | None = None

    def read(self) -> dict[str, Any]:
        """Return the utilization of all cores, used memory in bytes, and watts of the packages since the last call."""
        if self.counted:
            readings = [(counter, _read_number(path)) for path, counter in self._counters.items()]
            self.joules = _sum_known([counter.add(None if uj is None else uj / 1e6) for counter, uj in readings])
        utilization = _value_or_none(lambda: round(self._psutil.cpu_percent() / 100, 4))
        memory = _value_or_none(lambda: self._psutil.virtual_memory().used)
        return {"cpu": utilization, "memory_bytes": memory, "cpu_watts": self._watts()}

    def _watts(self) -> float | None:
        present, previous = time.monotonic(), self._previous
        self._previous = None if self.joules is None else (present, self.joules)
        if previous is None or self.joules is None or present == previous[0]:
            return None
        return round((self.joules - previous[1]) / (present - previous[0]), 1)


class _Accelerators:
    """The trial's accelerators, by NVML.

    Attributes:
        joules: Energy of all accelerators at the last call of `read`; None when one could not be read.
        counted: Whether there are any. Parts of a device (MIG) are counted, but their energy is unknown.
    """

    def __init__(self, nvml: Any) -> None:
        self._devices: list[tuple[int, Any, _Counter]] = []
        self.joules: float | None = None
        self.counted = False
        try:
            self._nvml = nvml or importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            present = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        except Exception:  # no driver, no library or an old one: no known accelerators
            return
        visible = _visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), [self._uuid(handle) for handle in present])
        self.counted = visible is None or bool(visible)
        self._devices = [(index, present[index], _Counter()) for index in visible or []]

    def read(self) -> list[dict[str, Any]]:
        """Return for each accelerator its number, utilization, used memory in bytes, and watts."""
        samples, sums = [], []
        for index, handle, counter in self._devices:
            energy = self._query("nvmlDeviceGetTotalEnergyConsumption", handle)
            sums.append(counter.add(None if energy is None else energy / 1000))
            power = self._query("nvmlDeviceGetPowerUsage", handle)
            utilization = self._query("nvmlDeviceGetUtilizationRates", handle)
            memory = self._query("nvmlDeviceGetMemoryInfo", handle)
            samples.append(
                {
                    "index": index,
                    "use": None if utilization is None else utilization.gpu / 100,
                    "memory_bytes": None if memory is None else memory.used,
                    "watts": None if power is None else power / 1000,
                }
            )
        self.joules = _sum_known(sums)
        return samples

    def _query(self, function: str, handle: Any) -> Any:
        return _value_or_none(lambda: getattr(self._nvml, function)(handle))

    def _uuid(self, handle: Any) -> str:
        uuid = self._query("nvmlDeviceGetUUID", handle)
        return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _sum_known(parts: Sequence[float | None]) -> float | None:
    """Sum of the parts; None if one is unknown, or there are none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _visible_devices(setting: str | None, uuids: list[str]) -> list[int] | None:
    """Numbers of the devices that CUDA_VISIBLE_DEVICES leaves visible; None when it names parts of devices (MIG)."""
    if setting is None:
        return list(range(len(uuids)))
    visible: list[int] = []
    for name in filter(None, (part.strip() for part in setting.split(","))):
        if name.startswith("MIG"):
            return None
        if name.isdigit():
            matches = [int(name)] if int(name) < len(uuids) else []
        else:
            matches = [index for index, uuid in enumerate(uuids) if name.startswith("GPU-") and uuid.startswith(name)]
        if len(matches) != 1:  # CUDA, too, ignores an invalid name and all that follow it
            break
        visible += matches
    return visible


def _has_all_cores(environment: Mapping[str, str]) -> bool:
    """Whether this process may use every core of the node: by its affinity, and by the batch system's variables."""
    cores = os.cpu_count() or 0
    allocated = [environment.get(name, "") for name in ("SLURM_CPUS_ON_NODE", "NCPUS")]
    return min(len(os.sched_getaffinity(0)), *(int(number) for number in allocated if number.isdigit()), cores) == cores


def _value_or_none(query: Callable[[], Any]) -> Any:
    """Result of a query; None if it raises: drivers and the kernel raise exceptions of any type."""
    try:
        return query()
    except Exception:
        return None


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _read_number(path: Path) -> float | None:
    try:
        return float(_read_text(path) or "")
    except ValueError:
        return None
