"""Files of agents: an agent's log and heartbeat, which it writes, and its orders, which the controller writes.

Logs and orders are append-only files with one writer each, read as they grow. A heartbeat is overwritten in place: a
reader opens it again each time, so that a network file system shows its present content.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from aiperf_orch.campaign.durable_files import AppendFile, read_file, read_whole_lines
from aiperf_orch.campaign.file_errors import called, translate_os_errors
from aiperf_orch.campaign.layout import Layout
from aiperf_orch.records.agents import AgentLine, Heartbeat, Order, agent_line_adapter, order_adapter
from aiperf_orch.records.base import first_error
from aiperf_orch.util.errors import AiperfError, RecordError, TransientError
from aiperf_orch.util.units import now

_HEARTBEAT_BYTES: Final = 128
_NAME: Final = re.compile(r"(.+)\.([1-9][0-9]{0,5})")
Line = TypeVar("Line")


@dataclass
class GrowingFile(Generic[Line]):
    """An append-only file of records that another process writes.

    Attributes:
        path: The file; it need not exist yet.
        adapter: Validates a line.
        size: Number of bytes that have been read.
        lines: Number of lines that have been read.
    """

    path: Path
    adapter: TypeAdapter[Line]
    size: int = 0
    lines: int = 0

    def read_on(self) -> list[Line]:
        """Complete lines that were added since the last call; empty while the file has never existed.

        Raises:
            RecordError: When a line is not a record of this kind; it names the line, and nothing counts as read.
            TransientError: When it cannot be read for now, or was there before.
        """
        try:
            data, _ = read_whole_lines(self.path, self.size, _read_now)
        except FileNotFoundError:
            if self.size:
                raise _absent(self.path) from None
            return []
        found = []
        for number, line in enumerate(data.split(b"\n")[:-1], start=self.lines + 1):
            try:
                found.append(self.adapter.validate_json(line, strict=True))
            except ValidationError as error:
                raise RecordError(f"{self.path}:{number}: {first_error(error)}") from None
        self.size, self.lines = self.size + len(data), self.lines + len(found)
        return found


def follow_log(layout: Layout, agent: str) -> GrowingFile[AgentLine]:
    """An agent's log, from its beginning."""
    return GrowingFile(layout.agent_log(agent), agent_line_adapter)


def follow_orders(layout: Layout, agent: str) -> GrowingFile[Order]:
    """An agent's orders, from their beginning."""
    return GrowingFile(layout.agent_orders(agent), order_adapter)


def agent_names(layout: Layout) -> list[str]:
    """Names of the agents that have a folder, sorted.

    Raises:
        TransientError: When the folder cannot be listed for now.
    """
    with translate_os_errors(layout.agents_folder, passing=FileNotFoundError):
        try:
            names = os.listdir(layout.agents_folder)  # noqa: PTH208  names only, no stat of each
        except FileNotFoundError:
            return []
    return sorted(name for name in names if _NAME.fullmatch(name))


def claim_folder(layout: Layout, host: str) -> tuple[str, list[str]]:
    """Create the folder of a new agent on a host; of several callers each gets a name of its own.

    Returns:
        Its name, and the names of the host's earlier agents, in order.

    Raises:
        AiperfError: When the file system refuses.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", host)[:120].lstrip("._-") or "host"
    earlier: list[str] = []
    with translate_os_errors(layout.agents_folder, passing=FileExistsError, may_pass=True):
        layout.agents_folder.mkdir(mode=0o700, exist_ok=True)
    while True:
        name = f"{safe}.{len(earlier) + 1}"
        try:
            with translate_os_errors(layout.agent_folder(name), passing=FileExistsError, may_pass=True):
                layout.agent_folder(name).mkdir(mode=0o700)
        except FileExistsError:
            earlier.append(name)
            continue
        return name, earlier


class OrderWriter:
    """Appends orders for one agent. There is one writer at a time: the controller that holds the campaign.

    The file is open only from an append to the next `close`: there may be more agents than a process may open files.
    """

    def __init__(self, layout: Layout, agent: str, generation: Callable[[], int]) -> None:
        """Begin without opening the file.

        Args:
            layout: Paths of the campaign.
            agent: The agent.
            generation: Returns the generation of the controller's lock.
        """
        self._written = follow_orders(layout, agent)
        self._generation = generation
        self._number = 0
        self._file: AppendFile | None = None

    def append(self, kind: type[Order], **fields: Any) -> None:
        """Append one order; it is on disk when this returns.

        Raises:
            AiperfError: When the file system refuses, or the orders are damaged; then the order was not given.
        """
        self.append_all([(kind, fields)])

    def append_all(self, drafts: Sequence[tuple[type[Order], Mapping[str, Any]]]) -> None:
        """Append orders, each a type and its own fields; they are on disk when this returns.

        Raises:
            AiperfError: When the file system refuses, or the orders are damaged; then none of them was given.
        """
        generation, file = self._generation(), self._open()
        first, time = self._number, now()
        orders = [
            kind(seq=first + index, generation=generation, time=time, **fields)
            for index, (kind, fields) in enumerate(drafts)
        ]
        try:
            file.append("".join(f"{order.to_line()}\n" for order in orders), retry_for=0.0)
        except AiperfError:
            self.close()  # after an error a network file system may require to open it again
            raise
        self._number += len(orders)

    def close(self) -> None:
        """Close the file; the next append opens it again."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> AppendFile:
        """The open file, without a torn last line of an earlier writer."""
        if self._file is None:
            with translate_os_errors(self._written.path, action="opened"):
                file = AppendFile(self._written.path, exclusive=False)
            try:
                self._written.read_on()
                if file.size > self._written.size:
                    file.truncate(self._written.size)
            except AiperfError:
                file.close()
                raise
            self._file, self._number = file, self._written.lines
        return self._file


@dataclass
class HeartbeatWriter:
    """Overwrites a heartbeat in place, so that it never grows."""

    path: Path
    count: int = 0

    def beat(self, generation: int = 0) -> None:
        """Write one more sign of life.

        Raises:
            AiperfError: When the file system refuses.
        """
        self.count += 1
        line = Heartbeat(count=self.count, time=now(), generation=generation).to_line().ljust(_HEARTBEAT_BYTES - 1)
        with translate_os_errors(self.path), called("open"):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o640)
            try:
                os.pwrite(descriptor, line.encode() + b"\n", 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@dataclass
class HeartbeatReader:
    """Follows a heartbeat.

    Attributes:
        path: The file; it need not exist yet.
        last: The last sign of life that was read; None before the first one.
    """

    path: Path
    last: Heartbeat | None = field(default=None)

    def read(self) -> bool:
        """Read the file; returns whether it changed since the last call. A torn or damaged one counts as unchanged.

        Raises:
            TransientError: When it cannot be read for now, or was there before.
        """
        try:
            found = Heartbeat.model_validate_json(_read_now(self.path), strict=True)
        except FileNotFoundError:
            if self.last is not None:
                raise _absent(self.path) from None
            return False
        except ValidationError:
            return False
        changed, self.last = found != self.last, found
        return changed


def _absent(path: Path) -> TransientError:
    """A file that is never removed is not there: its file system is away, and nothing is known of it."""
    return TransientError(f"{path}: cannot be read for now: it was there before")


def _read_now(path: Path, *, offset: int = 0) -> bytes:
    return read_file(path, offset=offset, retry_for=0.0)
