"""A reader of bytes under fuzzing, and how one input is read within bounds of time, memory and errors."""

from __future__ import annotations

import logging
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiperf_orch.util.errors import AiperfError
from fuzz.corpus import scratch

SECONDS: Final = 10.0
"""Most time of one input; the readers take milliseconds, and a busy machine is no failure."""
MOST_GROWTH: Final = 300
"""Most MiB by which the process may grow over all inputs of a reader."""


@dataclass(frozen=True)
class Reader:
    """A function that reads bytes from outside.

    Attributes:
        name: What is read.
        read: Reads bytes.
        seeds: Makes valid inputs.
        allowed: Errors with which it may refuse an input; its callers show them to a person.
        runs: Number of inputs of the long campaign.
        quick_runs: Number of inputs in the normal tests.
        loads_torch: Whether it imports torch.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], tuple[bytes, ...]]
    allowed: tuple[type[BaseException], ...] = (AiperfError,)
    runs: int = 2500
    quick_runs: int = 60
    loads_torch: bool = False

    def check(self, data: bytes) -> None:
        """Read an input; raises what the reader should not have raised."""
        level = logging.root.manager.disable
        logging.disable()  # some readers warn of each line
        try:
            with suppress(*self.allowed):
                self.read(data)
        finally:
            logging.disable(level)

    def check_in_time(self, data: bytes) -> None:
        """As `check`; raises TimeoutError after `SECONDS`."""
        with _bounded_time():
            self.check(data)


def of_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    """A reader of a file: writes the bytes to a file with this name, which may have folders, and reads that."""

    def read_bytes(data: bytes) -> object:
        path = scratch("inputs") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600)
        return read(path)

    return read_bytes


def of_text(read: Callable[[str], Any]) -> Callable[[bytes], object]:
    """A reader of a command's output, which is decoded as `schedulers.command` does; results are used up."""

    def read_bytes(data: bytes) -> object:
        found = read(data.decode(errors="replace"))
        return list(found) if hasattr(found, "__iter__") else found

    return read_bytes


def peak_memory() -> int:
    """Most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def _bounded_time() -> Iterator[None]:
    def expire(*_: object) -> None:
        raise TimeoutError(f"not read within {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
