"""Telemetry by programs of vendors: stand-ins for AMD's library, in a real process, and for npu-smi."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from aiperf_orch.trial.runtime.telemetry import Telemetry
from aiperf_orch.trial.telemetry import amd, ascend

# answers as in ROCm/amdsmi, docs/reference/amdsmi-py-api.md; it prints, as libraries do
_AMDSMI = """
import itertools, os, time
class AmdSmiTemperatureType: HOTSPOT = 1
class AmdSmiTemperatureMetric: CURRENT = 0
print("hello from the library")
times = itertools.count(3824190842400799)
def amdsmi_init(): os.write(1, b"and from its C code\\n")
def amdsmi_get_processor_handles(): return [0, 1]
def amdsmi_get_power_info(handle): return {"current_socket_power": 700 + handle, "average_socket_power": "N/A"}
def amdsmi_get_energy_count(handle):
    tick = next(times)
    return {"energy_accumulator": (tick - 3824190842400799) * 10**6, "counter_resolution": 15.0, "timestamp": tick}
def amdsmi_get_gpu_activity(handle): return {"gfx_activity": 97, "umc_activity": 50, "mm_activity": "N/A"}
def amdsmi_get_gpu_vram_usage(handle): return {"vram_total": 196592, "vram_used": 1024}
def amdsmi_get_temp_metric(handle, sensor, metric): return 61
"""


@pytest.fixture(autouse=True)
def _node_without_nvidia(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("aiperf_orch.trial.telemetry.accelerators.find_nvidia", lambda nvml: None)
    for vendor in ("CUDA", "HIP", "ROCR", "ASCEND_RT"):
        monkeypatch.delenv(f"{vendor}_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "0")  # so that this machine's processors are not counted
    (tmp_path / "library").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "library"))
    monkeypatch.syspath_prepend(str(tmp_path / "library"))


def _amdsmi(tmp_path: Path, *extra: str) -> None:
    (tmp_path / "library" / "amdsmi.py").write_text("\n".join([_AMDSMI, *extra]), encoding="utf-8")


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def _is_over(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _last_line(path: Path) -> dict[str, Any]:
    _wait_until(lambda: path.exists() and "\n" in path.read_text(encoding="utf-8"))
    line: dict[str, Any] = json.loads(path.read_text(encoding="utf-8").splitlines()[-1])
    return line


def test_accelerators_of_amd(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _amdsmi(tmp_path)
    with Telemetry(tmp_path / "lines", interval=3600) as telemetry:
        line = _last_line(tmp_path / "lines")
        measured = telemetry.since(telemetry.energy())
    assert (measured.energy, measured.energy_of) == (60.0, "accelerators")  # each counter: 2 ticks of 15 J
    assert line["accelerators"][1] == {
        "index": 1,
        "use": 0.97,
        "memory_bytes": 1 << 30,
        "watts": 701.0,
        "temperature_celsius": 61,
        "throttled": None,
    }
    assert capfd.readouterr() == ("", "")


def test_the_energy_of_some_of_the_devices_of_amd_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _amdsmi(tmp_path)
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    with Telemetry(tmp_path / "lines", interval=3600) as telemetry:
        assert [device["watts"] for device in _last_line(tmp_path / "lines")["accelerators"]] == [701.0]
        assert telemetry.energy() is None


def test_a_counter_of_amd_that_stands_still_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # AMDResearch/hpcfund, issue 21: the same answer for ever
    answer = "{'power': 8152136, 'counter_resolution': 15.300000190734863, 'timestamp': 3824190842400799}"
    _amdsmi(tmp_path, f"def amdsmi_get_energy_count(handle): return {answer}")
    monkeypatch.setattr(amd, "_STANDS_STILL", 0.2)
    with Telemetry(None, interval=3600) as telemetry:
        telemetry.energy()
        time.sleep(0.3)
        assert telemetry.energy() is None


@pytest.mark.parametrize(
    "fault",
    [
        "os.abort()",
        "raise SystemExit",
        "def amdsmi_init(): time.sleep(3600)",
        "def amdsmi_init(): raise RuntimeError",
        "def amdsmi_get_processor_handles(): return []",
        "def amdsmi_get_power_info(handle): time.sleep(3600)",
    ],
)
def test_a_library_of_amd_that_fails_means_no_accelerators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], fault: str
) -> None:
    _amdsmi(tmp_path, fault)
    monkeypatch.setattr(amd, "_TIMEOUT", 0.5)
    with Telemetry(tmp_path / "lines", interval=3600):
        assert _last_line(tmp_path / "lines")["accelerators"] == []
    assert capfd.readouterr() == ("", "")


def test_a_library_of_amd_that_crashes_later_means_unknown_values(tmp_path: Path) -> None:
    _amdsmi(tmp_path, "def amdsmi_get_gpu_activity(handle): os.abort()")
    with Telemetry(tmp_path / "lines", interval=3600) as telemetry:
        device = _last_line(tmp_path / "lines")["accelerators"][0]
        assert (device["use"], device["temperature_celsius"]) == (None, None)
        assert telemetry.energy() is None


def test_the_process_with_the_library_of_amd_ends_with_the_telemetry(tmp_path: Path) -> None:
    _amdsmi(tmp_path, f"open({str(tmp_path / 'id')!r}, 'w').write(str(os.getpid()))")
    with Telemetry(tmp_path / "lines", interval=3600):
        _last_line(tmp_path / "lines")
        process = int((tmp_path / "id").read_text())
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_process_with_the_library_of_amd_ends_with_a_task_that_is_killed(tmp_path: Path) -> None:
    _amdsmi(
        tmp_path,
        f"open({str(tmp_path / 'id')!r}, 'w').write(str(os.getpid()) + chr(10))",
        "def amdsmi_init(): time.sleep(3600)",
    )
    script = (
        "import time; from aiperf_orch.trial.runtime.telemetry import Telemetry; "
        "Telemetry(None, nvml=object()).start(); time.sleep(3600)"
    )
    with subprocess.Popen([sys.executable, "-c", script]) as task:
        try:
            _wait_until(lambda: (tmp_path / "id").exists() and "\n" in (tmp_path / "id").read_text())
        finally:
            task.kill()
    process = int((tmp_path / "id").read_text())
    _wait_until(lambda: _is_over(process))


_TABLE = """
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
| 0     910B3               | OK            | 100.0       41                0    / 0             |
| 0                         | 0000:C1:00.0  | 50          0    / 0          3379 / 65536         |
"""


def _npu_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "library" / "npu-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def test_the_energy_of_ascend_is_its_power_integrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _npu_smi(tmp_path, monkeypatch, f"cat <<'END'\n{_TABLE}\nEND")
    with Telemetry(tmp_path / "lines", interval=3600) as telemetry:
        line = _last_line(tmp_path / "lines")
        start, before = time.monotonic(), telemetry.energy()
        time.sleep(0.3)
        measured = telemetry.since(before)
        seconds = time.monotonic() - start
    assert measured.energy_of == "accelerators"
    assert measured.energy is not None
    assert 30 <= measured.energy <= 100 * seconds
    assert line["accelerators"][0]["watts"] == 100.0
    assert line["accelerators"][0]["use"] == 0.5


def test_ascend_is_unknown_where_a_trial_has_some_chips_and_where_npu_smi_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _npu_smi(tmp_path, monkeypatch, f"cat <<'END'\n{_TABLE}\nEND")
    monkeypatch.setenv("ASCEND_RT_VISIBLE_DEVICES", "0")
    with Telemetry(None, interval=3600) as telemetry:
        assert telemetry.energy() is None
        assert telemetry.energy_of == "accelerators"
    _npu_smi(tmp_path, monkeypatch, "exec sleep 3600")
    monkeypatch.setattr(ascend, "_TIMEOUT", 0.2)
    with Telemetry(tmp_path / "lines", interval=3600):
        assert _last_line(tmp_path / "lines")["accelerators"] == []
