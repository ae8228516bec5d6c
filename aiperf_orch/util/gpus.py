"""NVIDIA GPUs that a process may use, without loading a library of the driver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_DRIVER: Final = Path("/proc/driver/nvidia/gpus")
_NONE: Final = ("", "-1", "NoDevFiles")  # values for jobs without GPUs


def listed_gpus(setting: str) -> list[str]:
    """The GPUs in a value of CUDA_VISIBLE_DEVICES, as they are named there."""
    return [name for part in setting.split(",") if (name := part.strip()) not in _NONE]


def available_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs of a process with this environment; without CUDA_VISIBLE_DEVICES all of the node, by number."""
    given = environment.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return listed_gpus(given)
    try:
        return [str(number) for number, _ in enumerate(_DRIVER.iterdir())]
    except OSError:
        return []
