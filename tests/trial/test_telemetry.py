"""Telemetry of a node: real processors, accelerators by a stand-in for NVIDIA's library, and unknown values."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.records.events import NodeMeasurements
from aiperf_orch.trial.runtime.telemetry import Telemetry

_DEADLINE = 60.0  # seconds


class Nvml:
    """Replacement for pynvml: two accelerators that use a joule between two readings of their counters."""

    def __init__(self, *unsupported: str) -> None:
        self.unsupported = unsupported
        self.reasons = 0x4
        self.millijoules = [5_000_000, 7_000_000]

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "unsupported"):
            raise RuntimeError("Not Supported")
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return ("GPU-aaaa", "GPU-bbbb")[handle]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        self.millijoules[handle] += 1000
        return self.millijoules[handle]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 350_500

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return SimpleNamespace(gpu=97, memory=50)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        return (61, 70)[handle]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self.reasons

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=1 << 30, total=2 << 30)


@pytest.fixture(autouse=True)
def _all_devices_and_long_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("aiperf_orch.trial.runtime.telemetry._ANSWER_TIMEOUT", _DEADLINE)


@pytest.fixture
def no_powercap(tmp_path: Path) -> Path:
    """Directory of a kernel without energy counters."""
    return tmp_path / "none"


def _zone(powercap: Path, name: str, uj: int, title: str = "package-0") -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{title}\n")
    (folder / "max_energy_range_uj").write_text("100000000\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    return folder / "energy_uj"


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_lines_have_values_of_processors_and_each_accelerator(tmp_path: Path, no_powercap: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    with Telemetry(path, interval=0.01, nvml=Nvml(), powercap=no_powercap):
        _wait_until(lambda: len(_lines(path)) > 2)
    line = _lines(path)[-1]
    assert 0 <= line["cpu"] <= 1
    assert line["memory_bytes"] > 1 << 20
    assert line["cpu_watts"] is None
    assert line["accelerators"][1] == {
        "index": 1,
        "use": 0.97,
        "memory_bytes": 1 << 30,
        "watts": 350.5,
        "temperature_celsius": 70,
        "throttled": False,
    }
    assert line["node_watts"] is None
    assert line["energy_joules"] > 0


def test_a_line_has_the_mean_of_all_measurements_of_power_since_the_previous_one(
    tmp_path: Path, no_powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiperf_orch.trial.runtime.telemetry._SAMPLE_INTERVAL", 0.01)
    path, nvml, milliwatts = tmp_path / "lines", Nvml(), itertools.count(100_000, 500)
    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", lambda handle: next(milliwatts), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with Telemetry(path, interval=0.5, nvml=nvml, powercap=no_powercap):
        _wait_until(lambda: len(_lines(path)) > 1)
    first, second = (line["accelerators"][0]["watts"] for line in _lines(path)[:2])
    assert first == 100
    # measurements are 100, 100.5, 101, ... W: the mean of the next n is 100.25 + n / 4
    number = (second - 100.25) * 4
    assert 3 <= number <= 51


def test_the_energy_of_a_shared_node_is_unknown(tmp_path: Path, no_powercap: Path) -> None:
    with Telemetry(tmp_path / "lines", exclusive=False, interval=3600, nvml=Nvml(), powercap=no_powercap) as telemetry:
        assert telemetry.energy() is None
        assert telemetry.since(telemetry.energy()) == NodeMeasurements()


@pytest.mark.parametrize(
    ("visible", "joules"), [("", None), ("1", 1), ("GPU-bbbb,GPU-aaaa", 2), ("0,1", 2), ("MIG-aaaa", None)]
)
def test_the_energy_is_that_of_visible_accelerators_at_the_call(
    tmp_path: Path, no_powercap: Path, monkeypatch: pytest.MonkeyPatch, visible: str, joules: float | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with Telemetry(tmp_path / "lines", interval=3600, nvml=Nvml(), powercap=no_powercap) as telemetry:
        measured = telemetry.since(telemetry.energy())
    expected = NodeMeasurements(energy=joules, energy_of="accelerators") if joules else NodeMeasurements()
    assert measured == expected


def test_the_energy_of_packages_continues_after_a_counter_wraps(tmp_path: Path) -> None:
    powercap = tmp_path / "powercap"
    package = _zone(powercap, "intel-rapl:0", 99_000_000)
    _zone(powercap, "intel-rapl:0:0", 5, "core")
    _zone(powercap, "intel-rapl:1", 5, "psys")
    with Telemetry(tmp_path / "lines", interval=3600, nvml=Nvml("nvmlInit"), powercap=powercap) as telemetry:
        assert telemetry.energy() == 0
        package.write_text("1500000\n")
        assert telemetry.energy() == pytest.approx(2.5)
        assert telemetry.energy_of == "processors"
        package.write_text("nonsense")
        assert telemetry.energy() is None
        package.write_text("2500000\n")
        assert telemetry.energy() == pytest.approx(3.5)


def test_a_sum_with_an_unknown_part_is_unknown(tmp_path: Path) -> None:
    powercap = tmp_path / "powercap"
    _zone(powercap, "intel-rapl:0", 0)
    nvml = Nvml("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates")
    path = tmp_path / "lines"
    with Telemetry(path, interval=0.01, nvml=nvml, powercap=powercap) as telemetry:
        assert telemetry.energy() is None
        _wait_until(lambda: len(_lines(path)) > 0)
    line = _lines(path)[0]
    assert line["energy_joules"] is None
    assert line["accelerators"][0]["use"] is None
    assert line["accelerators"][0]["watts"] == 350.5


def test_the_energy_is_unknown_after_a_driver_was_reloaded(tmp_path: Path, no_powercap: Path) -> None:
    nvml = Nvml()
    with Telemetry(tmp_path / "lines", interval=3600, nvml=nvml, powercap=no_powercap) as telemetry:
        assert telemetry.energy() is not None
        nvml.millijoules = [0, 0]
        assert telemetry.energy() is None
        assert telemetry.energy() is None


def test_a_hanging_driver_and_an_unwritable_file_do_not_stop_a_trial(
    tmp_path: Path, no_powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiperf_orch.trial.runtime.telemetry._ANSWER_TIMEOUT", 0.05)
    released = threading.Event()
    nvml = Nvml()
    monkeypatch.setattr(nvml, "nvmlInit", released.wait, raising=False)
    with Telemetry(tmp_path / "missing" / "lines", nvml=nvml, powercap=no_powercap) as telemetry:
        assert telemetry.energy() is None
    released.set()


def test_a_library_that_raises_means_no_accelerators(
    tmp_path: Path, no_powercap: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(tmp_path / "lines", nvml=Nvml("nvmlDeviceGetCount"), powercap=no_powercap) as telemetry:
        assert telemetry.energy() is None
        assert telemetry.energy_of is None
    assert capfd.readouterr().err == ""
