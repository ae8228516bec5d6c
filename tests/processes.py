"""Processes of this machine that tests look for; one that ends while it is looked at is left out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Running:
    """A process with its command line and its environment, as they were read."""

    process: psutil.Process
    words: list[str]
    environment: dict[str, str]


def running() -> Iterator[Running]:
    """All processes that may be read and have a command line, those on simulated nodes included."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words:  # that of a zombie is empty
                yield Running(process, words, process.environ())


def words_of(process: psutil.Process) -> list[str]:
    """The command line of a process; empty where it has ended."""
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []
