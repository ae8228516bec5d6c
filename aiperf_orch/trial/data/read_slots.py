"""Slots for reading the shared file system: at most so many nodes copy data at the same time. Does not import torch.

A slot is held by a lease: a file that its holder creates exclusively, which NFS and Lustre guarantee without locks, and
overwrites every 30 s. A lease that says "released", or has not changed for 3 minutes while a node waits, has ended,
whatever the clocks of nodes say: who creates the lease with the next number has the slot. Numbers are never used again,
so that of several who see the same end only one gets the slot. After a stall of minutes a holder may find that its
lease has ended; until then there may be one reader more.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.trial.data.data_paths import LocatedDataSettings
from aiperf_orch.util.units import count

LEASE_SECONDS: Final = 180.0
"""Seconds without a change after which a lease has ended; network file systems may show changes a minute late."""

_RENEWALS: Final = 6  # of a lease that is held, within LEASE_SECONDS
_PAUSE: Final = (0.5, 10.0)  # seconds between two looks of who waits: the shortest and the longest
_FIRST_MESSAGE: Final = 2.0  # seconds of waiting
_MESSAGE_SECONDS: Final = 60.0
_RELEASED: Final = b"released"
_WIDTH: Final = 120  # bytes of a lease, which is overwritten in place


@dataclass(frozen=True)
class ReadSlots:
    """Slots in a folder that all nodes share."""

    folder: Path
    number: int
    lease_seconds: float = LEASE_SECONDS

    @contextmanager
    def held(self) -> Iterator[HeldSlot]:
        """Hold a slot; waits for one."""
        slot = HeldSlot(self)
        slot.wait()
        try:
            yield slot
        finally:
            slot.release()


def read_slots(settings: DataRecord) -> ReadSlots | None:
    """The slots that the settings of a dataset name; None for no limit."""
    if not isinstance(settings, LocatedDataSettings) or settings.read_slots is None:
        return None
    return ReadSlots(settings.read_slots, settings.stage_readers)


class HeldSlot:
    """One of the slots while it is held."""

    def __init__(self, slots: ReadSlots) -> None:
        self._slots = slots
        self._slot, self._lease, self._renewals, self._renewed = -1, -1, 0, 0.0

    def wait(self) -> None:
        """Wait for a slot; says so once a minute."""
        self._slots.folder.mkdir(mode=0o700, exist_ok=True)
        seen: dict[tuple[int, int], tuple[bytes, float]] = {}  # lease -> content, and since when it has been the same
        said, pause = time.monotonic() - _MESSAGE_SECONDS + _FIRST_MESSAGE, _PAUSE[0]
        while not self._take_any(seen):
            if time.monotonic() - said > _MESSAGE_SECONDS:
                said = time.monotonic()
                holders = count(self._slots.number, "other node")
                print(f"waiting to copy data, after {holders} (data.stage_readers)", file=sys.stderr, flush=True)
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _PAUSE[1])

    def keep(self) -> None:
        """Renew the lease if that is due; if it was lost in a stall, wait for another slot."""
        now = time.monotonic()
        if now - self._renewed < self._slots.lease_seconds / _RENEWALS:
            return
        self._renewed = now
        try:
            is_newest = self._leases().get(self._slot) == self._lease
        except OSError:  # a file system that fails for a moment
            return
        if is_newest:
            self._renewals += 1
            self._overwrite(f"{self._renewals:08d} {_OWNER}".encode())
        else:
            self.wait()

    def release(self) -> None:
        """Let another node have the slot."""
        self._overwrite(_RELEASED)

    def _take_any(self, seen: dict[tuple[int, int], tuple[bytes, float]]) -> bool:
        leases = self._leases()
        for slot in random.sample(range(self._slots.number), self._slots.number):
            lease = leases.get(slot, 0)
            if (lease == 0 or self._has_ended(slot, lease, seen)) and self._take(slot, lease + 1):
                return True
        return False

    def _leases(self) -> dict[int, int]:
        """The highest lease of each slot."""
        found: dict[int, int] = {}
        for name in os.listdir(self._slots.folder):  # noqa: PTH208
            slot, _, lease = name.partition(".")
            if slot.isdecimal() and lease.isdecimal():
                found[int(slot)] = max(found.get(int(slot), 0), int(lease))
        return found

    def _has_ended(self, slot: int, lease: int, seen: dict[tuple[int, int], tuple[bytes, float]]) -> bool:
        try:
            content = Layout.read_slot(self._slots.folder, slot, lease).read_bytes().strip()
        except OSError:  # another holder has removed it
            return False
        if content == _RELEASED:
            return True
        now = time.monotonic()
        before, since = seen.get((slot, lease), (None, now))
        if content != before:
            since = now
        seen[slot, lease] = content, since
        return now - since > self._slots.lease_seconds

    def _take(self, slot: int, lease: int) -> bool:
        path = Layout.read_slot(self._slots.folder, slot, lease)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            return False
        if self._leases().get(slot) != lease:  # an old lease whose successors were not seen
            path.unlink(missing_ok=True)
            return False
        self._slot, self._lease, self._renewed = slot, lease, time.monotonic()
        self._overwrite(f"{0:08d} {_OWNER}".encode())
        with suppress(OSError):
            for earlier in range(max(1, lease - 10), lease):
                Layout.read_slot(self._slots.folder, slot, earlier).unlink(missing_ok=True)
        return True

    def _overwrite(self, content: bytes) -> None:
        """Write the lease; an error is no reason to stop copying."""
        with suppress(OSError):
            path = Layout.read_slot(self._slots.folder, self._slot, self._lease)
            descriptor = os.open(path, os.O_WRONLY)
            try:
                os.pwrite(descriptor, content[:_WIDTH].ljust(_WIDTH), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


_OWNER: Final = f"{socket.gethostname()} {os.getpid()}"
