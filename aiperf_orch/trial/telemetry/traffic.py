"""Bytes per second over the node's network and to its disks, by the kernel's counters.

- Network: `/proc/net/dev` (https://man7.org/linux/man-pages/man5/proc_net.5.html) of interfaces with hardware behind
  them, and `port_rcv_data` and `port_xmit_data` of the ports in /sys/class/infiniband, in units of 4 bytes
  (https://docs.kernel.org/admin-guide/abi-stable-files.html), since remote memory accesses pass no interface.
- Disks: `/proc/diskstats`, in sectors of 512 bytes (https://docs.kernel.org/admin-guide/iostats.html).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiperf_orch.trial.telemetry.source import read_number, read_text, value_or_none

_SECTOR: Final = 512  # bytes
_IB_UNIT: Final = 4  # bytes
_IPOIB: Final = "32"  # ARPHRD_INFINIBAND: an interface whose bytes the counters of its port contain
_PATH: Final = re.compile(r"nvme[0-9]+c[0-9]+n[0-9]+")  # one path to a disk that has several, and an entry of its own

_Counts = Mapping[str, tuple[int, int]]


class Traffic:
    """Bytes in and out since the previous line.

    Args:
        root: Directory in which `proc` and `sys` are, for tests.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._network, self._disks = _Rates(), _Rates()
        self.line()

    def sample(self) -> None:
        """Do nothing."""

    def line(self) -> dict[str, Any]:
        """Return bytes per second since the previous line; None where they are unknown."""
        present = time.monotonic()
        received, sent = self._network.since_last(present, value_or_none(lambda: _network(self._root)) or {})
        read, written = self._disks.since_last(present, value_or_none(lambda: _disks(self._root)) or {})
        return {"network_received": received, "network_sent": sent, "disk_read": read, "disk_written": written}


class _Rates:
    """Increase of pairs of counters by time."""

    def __init__(self) -> None:
        self._last: tuple[float, _Counts] = (0.0, {})

    def since_last(self, present: float, counts: _Counts) -> tuple[int | None, int | None]:
        """Bytes per second; None if there is nothing to count, something came or went, or a counter went back."""
        (before, previous), self._last = self._last, (present, counts)
        if not counts or counts.keys() != previous.keys() or present <= before:
            return None, None
        first, second = (
            self._rate([pair[part] - previous[name][part] for name, pair in counts.items()], present - before)
            for part in (0, 1)
        )
        return first, second

    @staticmethod
    def _rate(increases: Sequence[int], seconds: float) -> int | None:
        return None if min(increases) < 0 else round(sum(increases) / seconds)


def _network(root: Path) -> _Counts:
    """Bytes received and sent by each interface and port; empty where one of them is not known."""
    ports = _ports(root)
    if ports is None or (root / "sys/class/cxi").exists():  # Slingshot counts remote memory accesses elsewhere
        return {}
    counts = dict(ports)
    for row in (read_text(root / "proc/net/dev") or "").splitlines():
        name, colon, values = (part.strip() for part in row.partition(":"))
        interface = root / "sys/class/net" / name
        # bonds, bridges, tunnels and the loop have no device: their bytes are counted below them, or never left
        if not colon or not (interface / "device").exists():
            continue
        if not (ports and read_text(interface / "type") == _IPOIB):
            fields = values.split()
            counts[name] = (int(fields[0]), int(fields[8]))
    return counts


def _ports(root: Path) -> _Counts | None:
    """Bytes by each InfiniBand (and RoCE) port; None where one has no counters."""
    counts: dict[str, tuple[int, int]] = {}
    for port in (root / "sys/class/infiniband").glob("*/ports/*"):
        if not (port.parent.parent / "device").exists():
            continue
        received, sent = (read_number(port / "counters" / name) for name in ("port_rcv_data", "port_xmit_data"))
        if received is None or sent is None:
            return None
        counts[str(port)] = (int(received) * _IB_UNIT, int(sent) * _IB_UNIT)
    return counts


def _disks(root: Path) -> _Counts:
    """Bytes read from and written to each whole disk: not its partitions, nor what lies over it (dm, md, loop)."""
    counts: dict[str, tuple[int, int]] = {}
    for row in (read_text(root / "proc/diskstats") or "").splitlines():
        fields = row.split()
        if len(fields) > 9 and (root / "sys/block" / fields[2] / "device").exists() and not _PATH.fullmatch(fields[2]):
            counts[fields[2]] = (int(fields[5]) * _SECTOR, int(fields[9]) * _SECTOR)
    return counts
