"""Which NVIDIA GPUs a process may use, without asking a driver's library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_DRIVER: Final = Path("/proc/driver/nvidia/gpus")
_NONE: Final = ("", "-1", "NoDevFiles")  # what schedulers write where a job has none


def listed_gpus(setting: str) -> list[str]:
    """Those that CUDA_VISIBLE_DEVICES names, as it names them."""
    return [name for part in setting.split(",") if (name := part.strip()) not in _NONE]


def available_gpus(environment: Mapping[str, str]) -> list[str]:
    """Those that a process with this environment was given, else those that the driver shows, by number."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return listed_gpus(given)
    try:
        return [str(number) for number, _ in enumerate(_DRIVER.iterdir())]
    except OSError:
        return []
