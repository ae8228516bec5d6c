"""AMD's accelerators: asks a process in which amdsmi is loaded, for a bounded time, and ends it."""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiperf_orch.trial.telemetry.source import AcceleratorState, value_or_none

_COMMAND: Final = (sys.executable, "-P", "-m", "aiperf_orch.trial.telemetry.amd_process")
_TIMEOUT: Final = 10.0  # seconds for an answer; the first one includes the start of the library
_END_TIMEOUT: Final = 1.0  # seconds for the end of the process
_STANDS_STILL: Final = 1.0  # seconds after which a counter whose time did not change is not updated


class Amd:
    """The visible devices of AMD's driver.

    Attributes:
        numbers: Their numbers; empty where it is not known which ones the trial has.
        counted: Whether the trial has any.
        present: Whether the node has any.
        pause: Seconds between two measurements of power.
    """

    pause: float = 0.0

    def __init__(self, process: _Process) -> None:
        self._process = process
        count = len(process.ask("watts") or [])
        visible = visible_devices(os.environ, count)
        self.present = bool(count)
        self.counted = visible is None or bool(visible)
        self.numbers: Sequence[int] = visible or []
        self._complete = len(self.numbers) == count
        self._counters = [_LiveCounter() for _ in self.numbers]

    def watts(self) -> Sequence[float | None]:
        """Power of the socket."""
        return self._ask("watts")

    def joules(self) -> Sequence[float | None]:
        """Counters; unknown where the trial sees some of the devices: HIP may number them in another order."""
        if not self._complete:
            return [None for _ in self.numbers]
        return [counter.read(answer) for counter, answer in zip(self._counters, self._ask("joules"), strict=True)]

    def states(self) -> Sequence[AcceleratorState]:
        """Use, memory, temperature of the hottest spot, and violations of a limit of temperature."""
        return [AcceleratorState(**(answer or {})) for answer in self._ask("states")]

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, question: str) -> Sequence[Any]:
        answer = self._process.ask(question)
        return [answer[number] if answer and number < len(answer) else None for number in self.numbers]


def find_amd() -> Amd | None:
    """The devices of AMD; None without amdsmi or a device."""
    if value_or_none(lambda: importlib.util.find_spec("amdsmi")) is None:
        return None
    process = value_or_none(_Process)
    if process is None:
        return None
    found = Amd(process)
    if not found.present:
        found.close()
        return None
    return found


def visible_devices(environment: Mapping[str, str], count: int) -> list[int] | None:
    """Numbers of the devices that are left visible; None when they are named otherwise than by numbers.

    HIP_VISIBLE_DEVICES (or CUDA_VISIBLE_DEVICES, which HIP reads, too) numbers those that ROCR_VISIBLE_DEVICES leaves.
    """
    visible = list(range(count))
    hip = environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES"))
    for setting in (environment.get("ROCR_VISIBLE_DEVICES"), hip):
        names = [name.strip() for name in (setting or "").split(",") if name.strip()]
        if setting is None:
            continue
        if not all(name.isdecimal() and int(name) < len(visible) for name in names):
            return None
        visible = [visible[int(name)] for name in names]
    return visible


class _LiveCounter:
    """Sorts out a counter that stands still: some drivers return the same energy and time for ever."""

    def __init__(self) -> None:
        self._timestamp: float | None = None
        self._changed = 0.0

    def read(self, answer: tuple[float, float] | None) -> float | None:
        """The joules of an answer; None without one, and where its time is the same as a second ago."""
        if answer is None:
            return None
        joules, timestamp = answer
        if timestamp != self._timestamp:
            self._timestamp, self._changed = timestamp, time.monotonic()
        return joules if time.monotonic() - self._changed < _STANDS_STILL else None


class _Process:
    """The process with the library. After a failure it is ended, and knows nothing any more."""

    def __init__(self) -> None:
        self._rest = b""
        self._child = subprocess.Popen(
            [*_COMMAND, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    def ask(self, question: str) -> list[Any] | None:
        """The answer to a question; None if there is none in time."""
        answer: list[Any] | None = value_or_none(lambda: self._exchange(question))
        if answer is None:
            self._child.kill()
        return answer

    def _exchange(self, question: str) -> list[Any] | None:
        questions, answers = self._child.stdin, self._child.stdout
        if questions is None or answers is None:
            return None
        questions.write(question.encode() + b"\n")
        deadline = time.monotonic() + _TIMEOUT
        while b"\n" not in self._rest:
            if not select.select([answers], [], [], max(deadline - time.monotonic(), 0.0))[0]:
                return None
            data = answers.read(65536)
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        return answer if isinstance(answer, list) else None

    def close(self) -> None:
        """End the process; one that hangs in the driver ends when it can."""
        self._child.kill()
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_TIMEOUT)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
