"""What a node does while a trial runs: a line every few seconds, and the energy that it took. Without torch.

A thread of the node's task samples, so that nothing waits for a driver: who asks for the energy waits for a bounded time.
All of it is best effort. What is not known is null, never 0, and nothing that goes wrong here reaches the trial.

Energy is that of the trial's accelerators, by the driver's own counters (NVIDIA's), and of the processors' packages by
RAPL where the trial has the node's cores to itself and the kernel lets it read them. A node that others share is not
divided: then it is the accelerators' alone. `energy_of` says which.
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
from typing import Any, Final, NamedTuple, Self, TextIO

from aiperf_orch.records.base import EnergyOf
from aiperf_orch.util.units import format_time, now

_INTERVAL: Final = 5.0  # seconds between two lines
_MOST_LINES: Final = 8640  # 12 hours: 1.2 MB, and 0.6 MB more for each accelerator
_PATIENCE: Final = 10.0  # seconds to wait for a driver's answer
_LONGEST_GAP: Final = 60.0  # seconds after which a counter that begins anew may have done so more than once
_POWERCAP: Final = Path("/sys/class/powercap")
_WHOSE: Final[dict[tuple[bool, bool], EnergyOf | None]] = {
    (False, False): None,
    (False, True): "processors",
    (True, False): "accelerators",
    (True, True): "accelerators+processors",
}


class Energy(NamedTuple):
    """Joules, and whose; None where they are not known."""

    energy: float | None
    energy_of: EnergyOf | None


def total(nodes: Sequence[Energy]) -> Energy:
    """What all nodes took; not known when one does not know, or they measured different parts."""
    parts = {node.energy_of for node in nodes}
    joules = _sum([node.energy for node in nodes])
    whose = parts.pop() if len(parts) == 1 else None
    return Energy(joules, whose) if joules is not None and whose else Energy(None, None)


class Telemetry:
    """Samples a node while it is entered. Used from one thread, which starts no process by fork meanwhile."""

    def __init__(
        self,
        path: Path | None,
        *,
        alone: bool = True,
        interval: float = _INTERVAL,
        nvml: Any = None,
        powercap: Path | None = None,
    ) -> None:
        """Keep what to sample; nothing is opened yet.

        Args:
            path: file that lines are added to, a JSON object each, 8,640 at most; None for none.
            alone: whether what the node does is this trial's; else its energy is not known.
            interval: seconds between two lines.
            nvml: stands in for the module pynvml.
            powercap: stands in for the kernel's folder of energy counters. By default they are read where this process
                has all cores of the node.
        """
        self._path, self._alone, self._interval, self._nvml = path, alone, interval, nvml
        self._powercap = powercap or (_POWERCAP if _has_all_cores(os.environ) else None)
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._change = threading.Condition()
        self._asked = self._answered = 0
        self._joules: float | None = None
        self._over = False
        self.energy_of: EnergyOf | None = None
        """Whose energy it is, as soon as `energy` has been asked; None where it is not known."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Begin; from here on a thread runs."""
        try:
            self._thread.start()
        except RuntimeError:  # no room for another thread
            self._over = True

    def close(self) -> None:
        """End; called once, also when it never began."""
        with self._change:
            self._over = True
            self._change.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_PATIENCE)

    def energy(self) -> float | None:
        """Joules of this node until now: the difference of two answers is what it took between them.

        None where it is not known, or the driver does not answer in time.
        """
        if not self._alone:
            return None
        with self._change:
            patience = _PATIENCE if self._answered == self._asked else 0.0  # a driver that hangs costs that once
            self._asked += 1
            mine = self._asked
            self._change.notify_all()
            self._change.wait_for(lambda: self._answered >= mine or self._over, patience)
            return self._joules if self._answered >= mine else None

    def since(self, before: float | None) -> Energy:
        """What was taken since `energy` answered `before`."""
        joules = None if before is None else self.energy()
        return Energy(None, None) if joules is None or before is None else Energy(joules - before, self.energy_of)

    def _run(self) -> None:
        # a signal that this thread took would not wake the main thread, which waits for it
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._sample()
        except Exception as error:
            print(f"telemetry ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        with self._change:
            self._over = True
            self._change.notify_all()

    def _sample(self) -> None:
        processors, accelerators = _Processors(self._powercap), _Accelerators(self._nvml)
        whose = _WHOSE[accelerators.counted, processors.counted]
        lines = _Lines(self._path)
        due = time.monotonic()
        while True:
            with self._change:
                self._change.wait_for(
                    lambda: self._over or self._asked > self._answered, max(due - time.monotonic(), 0.0)
                )
                if self._over:
                    return
                asked = self._asked
            seen: dict[str, Any] = {"time": format_time(now())}
            seen |= processors.read()
            seen["accelerators"] = accelerators.read()
            joules = _sum([part.joules for part in (accelerators, processors) if part.counted])
            with self._change:
                self._joules, self.energy_of, self._answered = joules, whose, asked
                self._change.notify_all()
            if time.monotonic() >= due:
                lines.add(seen | {"energy_joules": joules})
                due = max(due + self._interval, time.monotonic())


class _Lines:
    """A file of JSON lines that stops at a bound, and at the first line that cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        self._left = _MOST_LINES
        if path is not None:
            with suppress(OSError):
                self._file = path.open("a", encoding="utf-8", buffering=1)

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._file is None:
            return
        self._left -= 1
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            print(f"telemetry: no more lines are written: {error.strerror}", file=sys.stderr, flush=True)
            self._left = 0
        if not self._left:
            with suppress(OSError):
                self._file.close()
            self._file = None


class _Counter:
    """Joules since the first reading of a counter that only grows, or begins anew after `bound`."""

    def __init__(self, bound: float | None = None) -> None:
        self._bound = bound
        self._last: float | None = None
        self._at = 0.0
        self._broken = False
        self._total = 0.0

    def joules(self, reading: float | None) -> float | None:
        """The sum, with this reading; None without one, and for good once the sum cannot be known."""
        present = time.monotonic()
        if reading is not None and self._last is not None:
            grown = reading - self._last
            if self._bound is None:
                self._broken = self._broken or grown < 0  # the driver was loaded anew
            else:
                self._broken = self._broken or present - self._at > _LONGEST_GAP
                grown = grown if grown >= 0 else grown + self._bound
            self._total += grown
        if reading is not None:
            self._last, self._at = reading, present
        return None if reading is None or self._broken else self._total


class _Processors:
    """The node's processors and memory, and the energy of the packages: `joules`, None when one did not tell.

    `counted` says whether the packages are part of the node's energy. That never changes: differences would be wrong.
    """

    def __init__(self, powercap: Path | None) -> None:
        import psutil

        self._psutil = psutil
        self._psutil.cpu_percent()  # since when the first answer counts, nobody knows
        self._counters: dict[Path, _Counter] = {}
        # psys and the mmio zones hold the same joules again, zones of zones (core, dram) are parts
        for zone in sorted(powercap.glob("intel-rapl:*")) if powercap else ():
            if zone.name.count(":") == 1 and (_text(zone / "name") or "").startswith("package"):
                bound = _number(zone / "max_energy_range_uj")
                self._counters[zone / "energy_uj"] = _Counter(None if bound is None else bound / 1e6)
        self.joules: float | None = None
        self.counted = bool(self._counters) and all(_number(path) is not None for path in self._counters)
        self._before: tuple[float, float] | None = None

    def read(self) -> dict[str, Any]:
        """Share of all cores that work, memory used in bytes, and the packages' watts, since the last call."""
        if self.counted:
            readings = [(counter, _number(path)) for path, counter in self._counters.items()]
            self.joules = _sum([counter.joules(None if uj is None else uj / 1e6) for counter, uj in readings])
        share = _known(lambda: round(self._psutil.cpu_percent() / 100, 4))
        memory = _known(lambda: self._psutil.virtual_memory().used)
        return {"cpu": share, "memory_bytes": memory, "cpu_watts": self._watts()}

    def _watts(self) -> float | None:
        present, before = time.monotonic(), self._before
        self._before = None if self.joules is None else (present, self.joules)
        if before is None or self.joules is None or present == before[0]:
            return None
        return round((self.joules - before[1]) / (present - before[0]), 1)


class _Accelerators:
    """The trial's accelerators by NVML, and their energy: `joules`, None when one did not tell.

    `counted` says whether there are any. Parts of a device (MIG) are counted and never known.
    """

    def __init__(self, nvml: Any) -> None:
        self._devices: list[tuple[int, Any, _Counter]] = []
        self.joules: float | None = None
        self.counted = False
        try:
            self._nvml = nvml or importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            present = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        except Exception:  # no driver, no library, an old one: none that we know of
            return
        chosen = _visible(os.environ.get("CUDA_VISIBLE_DEVICES"), [self._uuid(handle) for handle in present])
        self.counted = chosen is None or bool(chosen)
        self._devices = [(index, present[index], _Counter()) for index in chosen or []]

    def read(self) -> list[dict[str, Any]]:
        """Of each: its number, the share of time that it worked, memory in bytes, watts."""
        seen, sums = [], []
        for index, handle, counter in self._devices:
            energy = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
            sums.append(counter.joules(None if energy is None else energy / 1000))
            power = self._ask("nvmlDeviceGetPowerUsage", handle)
            use = self._ask("nvmlDeviceGetUtilizationRates", handle)
            memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
            seen.append(
                {
                    "index": index,
                    "use": None if use is None else use.gpu / 100,
                    "memory_bytes": None if memory is None else memory.used,
                    "watts": None if power is None else power / 1000,
                }
            )
        self.joules = _sum(sums)
        return seen

    def _ask(self, function: str, handle: Any) -> Any:
        return _known(lambda: getattr(self._nvml, function)(handle))

    def _uuid(self, handle: Any) -> str:
        uuid = self._ask("nvmlDeviceGetUUID", handle)
        return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def _sum(parts: Sequence[float | None]) -> float | None:
    """The sum of parts that are all known; None of none."""
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _visible(setting: str | None, uuids: list[str]) -> list[int] | None:
    """Which devices CUDA_VISIBLE_DEVICES leaves a process; None when it names what is not a whole device (MIG)."""
    if setting is None:
        return list(range(len(uuids)))
    chosen: list[int] = []
    for name in filter(None, (part.strip() for part in setting.split(","))):
        if name.isdigit():
            found = [int(name)] if int(name) < len(uuids) else []
        elif name.startswith("GPU-"):
            found = [index for index, uuid in enumerate(uuids) if uuid.startswith(name)]
        elif name.startswith("MIG"):
            return None
        else:
            found = []
        if len(found) != 1:  # CUDA, too, sees nothing from the first wrong name on
            break
        chosen += found
    return chosen


def _has_all_cores(environment: Mapping[str, str]) -> bool:
    """Whether this process may use every core of the node: by its affinity, and by what the batch system gave."""
    cores = os.cpu_count() or 0
    said = [environment.get(name, "") for name in ("SLURM_CPUS_ON_NODE", "NCPUS")]
    return min(len(os.sched_getaffinity(0)), *(int(number) for number in said if number.isdigit()), cores) == cores


def _known(ask: Callable[[], Any]) -> Any:
    """An answer, or None: drivers and the kernel raise what they like."""
    try:
        return ask()
    except Exception:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
