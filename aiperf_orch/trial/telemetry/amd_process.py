"""AMD's accelerators by amdsmi, in a process of its own: a library that crashes or prints cannot harm the trial.

Started by `amd` with the process id of its parent, with which it ends. Each line on standard input is a question
(`watts`, `joules`, `states`), answered by one line of JSON: a list with a value for each device. Ends with its input;
signals of the batch system, which the thread that starts it blocks, do not end it.

Fields and units: "AMD SMI Python API reference" in the documentation of ROCm/amdsmi.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiperf_orch.trial.telemetry.source import value_or_none
from aiperf_orch.util.death_signal import die_with

_MEBIBYTE: Final = 1 << 20
_MOST_WATTS: Final = 10_000  # more is no measurement of an accelerator, but all bits set, where nothing is known
_VIOLATIONS: Final = ("active_prochot_thrm", "active_socket_thrm", "active_vr_thrm", "active_hbm_thrm")
"""Too hot: processor, socket, voltage regulator, memory. Not `active_ppt_pwr`, the ordinary limit of power."""


def main() -> None:
    """Answer questions until the end of the input."""
    die_with(int(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what the library prints is no answer
    amdsmi = importlib.import_module("amdsmi")
    amdsmi.amdsmi_init()
    handles = amdsmi.amdsmi_get_processor_handles()
    questions: dict[str, Callable[[Any, Any], Any]] = {"watts": watts, "joules": energy, "states": state}
    for line in sys.stdin:
        answer = questions[line.strip()]
        answers.write(json.dumps([answer(amdsmi, handle) for handle in handles]) + "\n")


def watts(amdsmi: Any, handle: Any) -> float | None:
    """Power of the socket: the current one (MI300 and later), or the average one (MI200 and earlier)."""
    info = value_or_none(lambda: amdsmi.amdsmi_get_power_info(handle)) or {}
    current, average = _number(info, "current_socket_power"), _number(info, "average_socket_power")
    return next((power for power in (current, average) if power is not None and power <= _MOST_WATTS), None)


def energy(amdsmi: Any, handle: Any) -> tuple[float, float] | None:
    """Energy so far in J, and the time of the counter; `power` is the name of the counter before ROCm 6.4."""
    count = value_or_none(lambda: amdsmi.amdsmi_get_energy_count(handle)) or {}
    counter = _number(count, "energy_accumulator" if "energy_accumulator" in count else "power")
    resolution, timestamp = _number(count, "counter_resolution"), _number(count, "timestamp")
    if counter is None or resolution is None or timestamp is None:
        return None
    return counter * resolution / 1e6, timestamp


def state(amdsmi: Any, handle: Any) -> dict[str, Any]:
    """Fields of `AcceleratorState`."""
    activity = value_or_none(lambda: amdsmi.amdsmi_get_gpu_activity(handle)) or {}
    memory = value_or_none(lambda: amdsmi.amdsmi_get_gpu_vram_usage(handle)) or {}
    temperature = value_or_none(
        lambda: amdsmi.amdsmi_get_temp_metric(
            handle, amdsmi.AmdSmiTemperatureType.HOTSPOT, amdsmi.AmdSmiTemperatureMetric.CURRENT
        )
    )
    use, used = _number(activity, "gfx_activity"), _number(memory, "vram_used")
    return {
        "use": use / 100 if use is not None and use <= 100 else None,
        "memory_bytes": None if used is None else int(used * _MEBIBYTE),
        "temperature_celsius": _number({"value": temperature}, "value"),
        "throttled": _throttled(value_or_none(lambda: amdsmi.amdsmi_get_violation_status(handle)) or {}),
    }


def _throttled(status: Mapping[str, Any]) -> bool | None:
    values = [_number(status, name) for name in _VIOLATIONS]
    if any(values):
        return True
    return None if None in values else False


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    """The field, if it is a number (a truth value counts as one): the library says `N/A` where it has none."""
    value = fields.get(name)
    return value if isinstance(value, int | float) else None


if __name__ == "__main__":
    main()
