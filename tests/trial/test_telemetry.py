"""What a node did while a trial ran: real processors, accelerators by a stand-in for NVIDIA's library, and nothing made up."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.telemetry import Telemetry

_DEADLINE = 60.0  # seconds that a loaded machine may take


class Nvml:
    """Two accelerators that take a joule between two readings of their counters, as pynvml tells it."""

    def __init__(self, *without: str) -> None:
        self.without = without
        self.millijoules = [5_000_000, 7_000_000]

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "without"):
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

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return SimpleNamespace(used=1 << 30, total=2 << 30)


@pytest.fixture(autouse=True)
def _all_devices_and_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("aiperf_orch.trial.runtime.telemetry._PATIENCE", _DEADLINE)


@pytest.fixture
def none(tmp_path: Path) -> Path:
    """A kernel without energy counters."""
    return tmp_path / "none"


def _zone(powercap: Path, name: str, uj: int, title: str = "package-0") -> Path:
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{title}\n")
    (folder / "max_energy_range_uj").write_text("100000000\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    return folder / "energy_uj"


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _DEADLINE
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_a_line_every_so_often_of_real_processors_and_each_accelerator(tmp_path: Path, none: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    with Telemetry(path, interval=0.01, nvml=Nvml(), powercap=none):
        _until(lambda: len(_lines(path)) > 2)
    line = _lines(path)[-1]
    assert 0 <= line["cpu"] <= 1
    assert line["memory_bytes"] > 1 << 20
    assert line["cpu_watts"] is None
    assert line["accelerators"][1] == {"index": 1, "use": 0.97, "memory_bytes": 1 << 30, "watts": 350.5}
    assert line["energy_joules"] > 0


def test_no_energy_is_a_trials_where_others_run_beside_it(tmp_path: Path, none: Path) -> None:
    with Telemetry(tmp_path / "lines", alone=False, interval=3600, nvml=Nvml(), powercap=none) as telemetry:
        assert telemetry.energy() is None
        assert telemetry.since(telemetry.energy()) == (None, None)
    assert Allocation.from_environment({}).alone
    assert not Allocation.from_environment({"AIPERF_ORCH_SHARED": "1"}).alone


def test_energy_is_read_when_it_is_asked_for_and_of_visible_accelerators(
    tmp_path: Path, none: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for visible, joules in (("", None), ("1", 1), ("GPU-bbbb,GPU-aaaa", 2), ("0,1", 2), ("MIG-aaaa", None)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        with Telemetry(tmp_path / "lines", interval=3600, nvml=Nvml(), powercap=none) as telemetry:
            first, second = telemetry.energy(), telemetry.energy()
            if joules is None:
                assert first is second is None
            else:
                assert first is not None
                assert second == first + joules
                assert telemetry.energy_of == "accelerators"


def test_energy_of_packages_goes_on_where_their_counter_begins_anew(tmp_path: Path) -> None:
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


def test_what_is_not_known_of_one_part_is_not_known_of_the_sum(tmp_path: Path) -> None:
    powercap = tmp_path / "powercap"
    _zone(powercap, "intel-rapl:0", 0)
    silent = Nvml("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates")
    path = tmp_path / "lines"
    with Telemetry(path, interval=0.01, nvml=silent, powercap=powercap) as telemetry:
        assert telemetry.energy() is None
        _until(lambda: len(_lines(path)) > 0)
    line = _lines(path)[0]
    assert line["energy_joules"] is None
    assert line["accelerators"][0]["use"] is None
    assert line["accelerators"][0]["watts"] == 350.5


def test_a_driver_that_counts_anew_makes_the_sum_unknown(tmp_path: Path, none: Path) -> None:
    nvml = Nvml()
    with Telemetry(tmp_path / "lines", interval=3600, nvml=nvml, powercap=none) as telemetry:
        assert telemetry.energy() is not None
        nvml.millijoules = [0, 0]
        assert telemetry.energy() is None
        assert telemetry.energy() is None


def test_neither_a_driver_that_hangs_nor_a_place_that_cannot_be_written_stops_a_trial(
    tmp_path: Path, none: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiperf_orch.trial.runtime.telemetry._PATIENCE", 0.05)
    released = threading.Event()
    nvml = Nvml()
    monkeypatch.setattr(nvml, "nvmlInit", released.wait, raising=False)
    with Telemetry(tmp_path / "missing" / "lines", nvml=nvml, powercap=none) as telemetry:
        assert telemetry.energy() is None
    released.set()


def test_a_library_of_accelerators_that_raises_is_a_node_without_any(
    tmp_path: Path, none: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Telemetry(tmp_path / "lines", nvml=Nvml("nvmlDeviceGetCount"), powercap=none) as telemetry:
        assert telemetry.energy() is None
        assert telemetry.energy_of is None
    assert capfd.readouterr().err == ""
