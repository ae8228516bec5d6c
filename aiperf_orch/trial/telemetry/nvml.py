"""NVIDIA's accelerators, by NVML (the module `pynvml` of nvidia-ml-py).

Units and bits: https://docs.nvidia.com/deploy/nvml-api/ (groups nvmlDeviceQueries and nvmlClocksEventReasons).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any, Final

from aiperf_orch.trial.telemetry.source import AcceleratorState, scaled, value_or_none

_SLOWDOWNS: Final = 0x08 | 0x20 | 0x40 | 0x80
"""Hardware slowdown, thermal slowdown by software and by hardware, power brake; not the software's power cap (0x04)."""
_CHIP: Final = 0  # NVML_TEMPERATURE_GPU


class Nvidia:
    """The visible devices of NVIDIA's driver.

    Attributes:
        numbers: Their NVML indices; empty where the trial has parts of devices (MIG), whose power is not known.
        counted: Whether the trial has devices, or parts of them.
        present: Whether the node has any.
        pause: As of every driver.
    """

    pause: float = 0.0

    def __init__(self, nvml: Any) -> None:
        """Open the driver.

        Raises:
            Exception: of any type, where it does not work.
        """
        self._nvml = nvml or importlib.import_module("pynvml")
        self._nvml.nvmlInit()
        present = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(self._nvml.nvmlDeviceGetCount())]
        visible = visible_devices(os.environ.get("CUDA_VISIBLE_DEVICES"), [self._uuid(handle) for handle in present])
        self.counted = visible is None or bool(visible)
        self.numbers: Sequence[int] = visible or []
        self._handles = [present[number] for number in self.numbers]
        self.present = bool(present)

    def watts(self) -> Sequence[float | None]:
        """Power, which NVML gives in mW."""
        return [scaled(self._query("nvmlDeviceGetPowerUsage", handle), 1e-3) for handle in self._handles]

    def joules(self) -> Sequence[float | None]:
        """Counters since the driver was loaded, which NVML gives in mJ."""
        return [scaled(self._query("nvmlDeviceGetTotalEnergyConsumption", handle), 1e-3) for handle in self._handles]

    def states(self) -> Sequence[AcceleratorState]:
        """Utilization, memory, temperature of the chip and slowdowns."""
        return [self._state(handle) for handle in self._handles]

    def close(self) -> None:
        """Do nothing: the driver is closed with the process."""

    def _state(self, handle: Any) -> AcceleratorState:
        utilization = self._query("nvmlDeviceGetUtilizationRates", handle)
        memory = self._query("nvmlDeviceGetMemoryInfo", handle)
        reasons = self._query("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if reasons is None:  # before version 12.535 of nvidia-ml-py and of the driver
            reasons = self._query("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        return AcceleratorState(
            use=None if utilization is None else utilization.gpu / 100,
            memory_bytes=None if memory is None else memory.used,
            temperature_celsius=self._query("nvmlDeviceGetTemperature", handle, _CHIP),
            throttled=None if reasons is None else bool(reasons & _SLOWDOWNS),
        )

    def _query(self, function: str, handle: Any, *arguments: int) -> Any:
        return value_or_none(lambda: getattr(self._nvml, function)(handle, *arguments))

    def _uuid(self, handle: Any) -> str:
        uuid = self._query("nvmlDeviceGetUUID", handle)
        return uuid.decode() if isinstance(uuid, bytes) else str(uuid)


def find_nvidia(nvml: Any) -> Nvidia | None:
    """The devices of NVIDIA; None without a driver, a library or a device."""
    found: Nvidia | None = value_or_none(lambda: Nvidia(nvml))
    return found if found is not None and found.present else None


def visible_devices(setting: str | None, uuids: Sequence[str]) -> list[int] | None:
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
