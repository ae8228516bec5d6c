"""Sources of telemetry, against output quoted from makers' documentation and users' reports; sources are cited."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.trial.telemetry import amd, amd_process, cray
from aiperf_orch.trial.telemetry.ascend import Chip, read_table
from aiperf_orch.trial.telemetry.counters import EnergyCounter, MeanPower, PowerIntegral
from aiperf_orch.trial.telemetry.nvml import Nvidia
from aiperf_orch.trial.telemetry.source import AcceleratorState
from aiperf_orch.trial.telemetry.traffic import Traffic

pytestmark = pytest.mark.unit

# Huawei


# hiascend.com, Atlas 200I A2, npu-smi 23.0.RC3, "npu-smi info": the maker's example
_ATLAS_200I_A2 = """
+--------------------------------------------------------------------------------------------------------+
| npu-smi 23.0.rc3                                   Version: 23.0.rc3                                   |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 0       310B1                 | OK              | 10.4          66                15    / 15           |
| 0       0                     | NA              | 0            957   / 10810                           |
+===============================+=================+======================================================+
"""
# vllm-project/vllm-ascend, issue 1130: one chip on each card
_910B3 = """
+---------------------------+---------------+----------------------------------------------------+
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip                      | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     910B3               | OK            | 97.5        41                0    / 0             |
| 0                         | 0000:C1:00.0  | 0           0    / 0          3379 / 65536         |
+===========================+===============+====================================================+
| 1     910B3               | OK            | 93.9        40                0    / 0             |
| 0                         | 0000:C2:00.0  | 0           0    / 0          3385 / 65536         |
+===========================+===============+====================================================+
"""
# vllm-project/vllm-ascend, issue 2526: two chips on a card, and no space before the bar
_TWO_CHIPS = """
| NPU   Name                | Health        | Power(W)    Temp(C)           Hugepages-Usage(page)|
| Chip  Phy-ID              | Bus-Id        | AICore(%)   Memory-Usage(MB)  HBM-Usage(MB)        |
+===========================+===============+====================================================+
| 0     Ascend910           | OK            | 178.9       36                0    / 0             |
| 0     0                   | 0000:9D:00.0  | 0           0    / 0          57784/ 65536         |
+------------------------------------------------------------------------------------------------+
| 0     Ascend910           | OK            | -           36                0    / 0             |
| 1     1                   | 0000:9F:00.0  | 0           0    / 0          57831/ 65536         |
+===========================+===============+====================================================+
"""


def _chip(number: int, watts: float | None, celsius: float, megabytes: int) -> Chip:
    state = AcceleratorState(use=0.0, memory_bytes=megabytes << 20, temperature_celsius=celsius)
    return Chip(number=number, watts=watts, state=state)


@pytest.mark.parametrize(
    ("table", "chips"),
    [
        (_ATLAS_200I_A2, [_chip(0, 10.4, 66, 957)]),
        (_910B3, [_chip(0, 97.5, 41, 3379), _chip(1, 93.9, 40, 3385)]),
        (_TWO_CHIPS, [_chip(0, 178.9, 36, 57784), _chip(1, None, 36, 57831)]),
        (_910B3.replace("Power(W)", "Power(mW)"), []),
        ("", []),
    ],
)
def test_npu_smi(table: str, chips: list[Chip]) -> None:
    assert read_table(table) == chips


# AMD: fields as in "AMD SMI Python API reference" (ROCm/amdsmi, docs/reference/amdsmi-py-api.md)


@pytest.mark.parametrize(
    ("info", "watts"),
    [  # MI200 and MI300 in ROCm/pytorch, pull request 1457
        ({"current_socket_power": "N/A", "average_socket_power": 94}, 94),
        ({"current_socket_power": 717, "average_socket_power": "N/A"}, 717),
        ({"current_socket_power": "N/A", "average_socket_power": "N/A"}, None),
        ({"current_socket_power": 0xFFFF, "average_socket_power": 94}, 94),
        ({"current_socket_power": 0xFFFF, "average_socket_power": "N/A"}, None),
        ({}, None),
    ],
)
def test_power_of_amd(info: dict[str, Any], watts: float | None) -> None:
    assert amd_process.watts(SimpleNamespace(amdsmi_get_power_info=lambda handle: info), 0) == watts


def test_energy_of_amd_is_the_counter_times_its_resolution_in_microjoules() -> None:
    # ROCm/amdsmi, issue 38: an MI210 in 120 s, for which `amd-smi metric -E` reported 5210 J, and rocm-smi 5231 J
    counters = iter([690097322004, 690439604676])
    library = SimpleNamespace(
        amdsmi_get_energy_count=lambda handle: {
            "power": next(counters),
            "counter_resolution": 15.300000190734863,
            "timestamp": 3824190842400799,
        }
    )
    before, after = amd_process.energy(library, 0), amd_process.energy(library, 0)
    assert before
    assert after
    assert after[0] - before[0] == pytest.approx(5237, abs=1)
    newer = {"energy_accumulator": 2_000_000, "power": 1, "counter_resolution": 15.3, "timestamp": 5}  # ROCm 6.4
    assert amd_process.energy(SimpleNamespace(amdsmi_get_energy_count=lambda handle: newer), 0) == (30.6, 5)


@pytest.mark.parametrize(
    ("status", "throttled"),
    [
        ({"active_prochot_thrm": 0, "active_socket_thrm": 0, "active_vr_thrm": 0, "active_hbm_thrm": 0}, False),
        ({"active_prochot_thrm": 0, "active_socket_thrm": 1, "active_vr_thrm": "N/A", "active_hbm_thrm": 0}, True),
        ({"active_prochot_thrm": False, "active_socket_thrm": "N/A", "active_ppt_pwr": 1}, None),
        ({}, None),
    ],
)
def test_slowdowns_of_amd_are_those_by_heat(status: dict[str, Any], throttled: bool | None) -> None:
    library = SimpleNamespace(amdsmi_get_violation_status=lambda handle: status)
    assert amd_process.state(library, 0) == {
        "use": None,
        "memory_bytes": None,
        "temperature_celsius": None,
        "throttled": throttled,
    }


@pytest.mark.parametrize(
    ("environment", "visible"),
    [
        ({}, [0, 1, 2, 3]),
        ({"ROCR_VISIBLE_DEVICES": "2,3"}, [2, 3]),
        ({"ROCR_VISIBLE_DEVICES": "2,3", "HIP_VISIBLE_DEVICES": "1"}, [3]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [1]),
        ({"HIP_VISIBLE_DEVICES": ""}, []),
        ({"ROCR_VISIBLE_DEVICES": "GPU-0123456789abcdef"}, None),
        ({"ROCR_VISIBLE_DEVICES": "4"}, None),
    ],
)
def test_visible_devices_of_amd(environment: dict[str, str], visible: list[int] | None) -> None:
    assert amd.visible_devices(environment, 4) == visible


# NVIDIA: bits of nvmlClocksEventReasons (docs.nvidia.com/deploy/nvml-api)


@pytest.mark.parametrize(
    ("reasons", "throttled"),
    [(0x0, False), (0x1, False), (0x4, False), (0x104, False), (0x8, True), (0x20, True), (0x44, True), (0x80, True)],
)
def test_slowdowns_of_nvidia_are_not_the_power_cap_by_software(
    monkeypatch: pytest.MonkeyPatch, reasons: int, throttled: bool
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda handle: reasons,
    )
    assert Nvidia(library).states() == [AcceleratorState(throttled=throttled)]


# HPE Cray: files and units as in docs-csm, "User Access to Compute Node Power Data"; the form of a value, `27725 J
# 1571230862955436 us`, as users quote it (ARCHER2's tests expect `\S+ J \S+ us`, too)


@pytest.fixture
def pm_counters(tmp_path: Path) -> Path:
    for name, text in {
        "power": "349 W 1571230862955436 us",
        "cpu_energy": "27725 J 1571230862955436 us",
        "freshness": "1 1571230862955436 us",
        "startup": "1571230000000000 1571230862955436 us",
    }.items():
        (tmp_path / name).write_text(f"{text}\n")
    return tmp_path


def test_power_of_a_cray_node_is_the_mean_since_the_previous_line(pm_counters: Path) -> None:
    node = cray.CrayNode(pm_counters)
    node.sample()
    (pm_counters / "power").write_text("351 W 1571230863955436 us\n")
    node.sample()
    assert node.line() == {"node_watts": 350.0}
    assert node.line() == {"node_watts": None}
    (pm_counters / "power").write_text("351 J 1571230863955436 us\n")
    node.sample()
    assert node.line() == {"node_watts": None}


def test_counters_of_cray_that_stand_still_or_started_anew_are_not_known(
    pm_counters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processors = cray.CrayProcessors(pm_counters)
    assert processors.counted
    assert processors.joules() == 0
    (pm_counters / "cpu_energy").write_text("27825 J 1571230863955436 us\n")
    assert processors.joules() == 100
    monkeypatch.setattr(cray, "_FRESH", 0.001)
    time.sleep(0.01)
    assert processors.joules() is None
    (pm_counters / "freshness").write_text("2 1571230863955436 us\n")
    (pm_counters / "startup").write_text("1571230000000000 1571230863955436 us\n")
    monkeypatch.setattr(cray, "_FRESH", 60)
    assert processors.joules() == 100
    (pm_counters / "startup").write_text("1571239999999999\n")
    assert processors.joules() is None


def test_no_counters_of_cray(tmp_path: Path) -> None:
    node = cray.CrayNode(tmp_path / "none")
    node.sample()
    assert node.line() == {"node_watts": None}
    assert not cray.CrayProcessors(tmp_path / "none").counted


# integration


def test_power_is_integrated_by_trapezoids_up_to_a_gap() -> None:
    integral = PowerIntegral()
    assert [integral.add(0, 100), integral.add(1, 200), integral.add(3, 100)] == [0, 150, 450]
    assert integral.add(4, None) is None
    assert integral.add(5, 100) == 650
    assert integral.add(16, 100) is None
    assert integral.add(17, 100) is None


def test_a_counter_that_falls_is_unknown_for_ever() -> None:
    counter = EnergyCounter()  # as in ROCm/amdsmi, issue 115
    assert [counter.add(reading) for reading in (4750896266, 4736943791, 4750896267)] == [0, None, None]


def test_a_mean_starts_anew() -> None:
    mean = MeanPower()
    for watts in (100, None, 200):
        mean.add(watts)
    assert [mean.take(), mean.take()] == [150, None]


# network and disks


class _Kernel:
    """Directories `proc` and `sys` of a node with two Ethernet ports in a bond, InfiniBand, and a disk under LVM."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, type_ in {"eth0": "1", "eth1": "1", "ib0": "32", "bond0": "1", "lo": "772", "veth1": "1"}.items():
            self.write(f"sys/class/net/{name}/type", type_)
        for folder in ("class/net/eth0", "class/net/eth1", "class/net/ib0", "block/nvme0n1", "block/nvme0c0n1"):
            (root / "sys" / folder / "device").mkdir(parents=True)
        for disk in ("dm-0", "loop0", "md0"):
            (root / "sys/block" / disk).mkdir(parents=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text + "\n")

    def add_infiniband(self) -> None:
        (self.root / "sys/class/infiniband/mlx5_0/device").mkdir(parents=True)
        self.count(0)

    def count(self, step: int) -> None:
        """Let each counter grow by as many MB (Ethernet, disk) or units of 4 MB (InfiniBand) as `step` says."""
        rows = [
            f"{name}: {step * 10**6} 1 0 0 0 0 0 0 {2 * step * 10**6} 1 0 0 0 0 0 0"
            for name in ("lo", "eth0", "eth1", "bond0", "veth1", "ib0")
        ]
        self.write("proc/net/dev", "\n".join(["Inter-|   Receive  |  Transmit", " face |bytes |bytes", *rows]))
        disks = ("259 0 nvme0n1", "259 1 nvme0n1p1", "259 2 nvme0c0n1", "253 0 dm-0", "7 0 loop0", "9 0 md0")
        self.write(
            "proc/diskstats", "\n".join(f"{disk} 1 0 {step * 2000} 1 1 0 {step * 4000} 1 0 1 1" for disk in disks)
        )
        counters = "sys/class/infiniband/mlx5_0/ports/1/counters"
        if (self.root / "sys/class/infiniband").exists():
            self.write(f"{counters}/port_rcv_data", str(step * 10**6))
            self.write(f"{counters}/port_xmit_data", str(step * 10**6))


@pytest.fixture
def kernel(tmp_path: Path) -> _Kernel:
    kernel = _Kernel(tmp_path)
    kernel.count(0)
    return kernel


def _ratios(line: dict[str, Any]) -> list[float | None]:
    """Rates as multiples of what the disk reads, in MB of each MB (1.024 MB) that it reads."""
    read = line["disk_read"]
    return [None if rate is None else round(rate / read * 1.024, 2) for rate in line.values()]


def test_traffic_counts_each_byte_once(kernel: _Kernel) -> None:
    traffic = Traffic(kernel.root)
    kernel.count(1)
    line = traffic.line()
    assert list(line) == ["network_received", "network_sent", "disk_read", "disk_written"]
    assert _ratios(line) == [3, 6, 1.02, 2.05]  # two ports of the bond and ib0, one disk


def test_infiniband_is_counted_at_its_ports(kernel: _Kernel) -> None:
    kernel.add_infiniband()
    traffic = Traffic(kernel.root)
    kernel.count(1)
    assert _ratios(traffic.line()) == [6, 8, 1.02, 2.05]  # 2 + 4 MB, and 4 + 4 MB; not those of ib0 again


def test_traffic_is_unknown_after_a_counter_went_back_and_where_something_is_not_counted(kernel: _Kernel) -> None:
    traffic = Traffic(kernel.root)
    kernel.count(2)
    traffic.line()
    kernel.count(1)
    assert set(traffic.line().values()) == {None}
    kernel.count(2)
    assert None not in traffic.line().values()
    (kernel.root / "sys/class/infiniband/efa_0/ports/1").mkdir(parents=True)
    (kernel.root / "sys/class/infiniband/efa_0/device").mkdir()
    kernel.count(3)
    line = traffic.line()
    assert line["network_received"] is None
    assert line["disk_read"] is not None


def test_traffic_is_unknown_without_a_kernel_that_counts(tmp_path: Path) -> None:
    assert set(Traffic(tmp_path).line().values()) == {None}
