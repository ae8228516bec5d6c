"""Telemetry of a node during a trial: a line of measurements every few seconds, and the energy used. Loads no torch.

A thread of the node's task takes the samples, so that nothing waits for a driver; a query of the energy waits for a
bounded time. All of it is best effort: an unknown value is null, never 0, and no failure here affects the trial. What
is measured, and how, is left to the sources in `trial.telemetry`.

Energy is that of the trial's accelerators, and of the processors where the trial has all cores of the node and the
kernel permits reading it. The energy of a shared node is not divided: then only that of the accelerators counts.
`energy_of` names the parts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final, Self, TextIO

from aiperf_orch.records.base import EnergyOf
from aiperf_orch.records.events import NodeMeasurements
from aiperf_orch.trial.telemetry.accelerators import Accelerators
from aiperf_orch.trial.telemetry.cray import PM_COUNTERS, CrayNode
from aiperf_orch.trial.telemetry.processors import Processors, has_all_cores
from aiperf_orch.trial.telemetry.rapl import POWERCAP
from aiperf_orch.trial.telemetry.source import EnergySource, Source, sum_known
from aiperf_orch.trial.telemetry.traffic import Traffic
from aiperf_orch.util.units import format_time, now

_INTERVAL: Final = 5.0  # seconds between two lines
_SAMPLE_INTERVAL: Final = 1.0  # seconds between two measurements of power
_MAX_LINES: Final = 8640  # 12 hours: 2.4 MB, and 1 MB more for each accelerator
_ANSWER_TIMEOUT: Final = 10.0  # seconds to wait for a driver's answer
_ENERGY_PARTS: Final[dict[tuple[bool, bool], EnergyOf | None]] = {
    (False, False): None,
    (False, True): "processors",
    (True, False): "accelerators",
    (True, True): "accelerators+processors",
}
"""Name of the measured parts, by whether accelerators and processors are counted."""


def combine_nodes(nodes: Sequence[NodeMeasurements]) -> NodeMeasurements:
    """Combine the measurements of all nodes.

    Energy is their sum; unknown when it is unknown for one node, or the nodes measured different parts.
    """
    parts = {node.energy_of for node in nodes}
    joules = sum_known([node.energy for node in nodes])
    if joules is None or len(parts) != 1:
        return NodeMeasurements()
    return NodeMeasurements(energy=joules, energy_of=parts.pop())


class Telemetry:
    """Samples a node between `start` and `close`. Used from one thread, which must not fork meanwhile."""

    def __init__(
        self,
        path: Path | None,
        *,
        exclusive: bool = True,
        interval: float = _INTERVAL,
        nvml: Any = None,
        powercap: Path | None = None,
        pm_counters: Path = PM_COUNTERS,
    ) -> None:
        """Keep the arguments; nothing is opened yet.

        Args:
            path: File to which lines are appended, one JSON object each, at most 8,640; None for no file.
            exclusive: Whether only this trial runs on the node; otherwise its energy is unknown.
            interval: Seconds between two lines.
            nvml: Replacement for the module `pynvml`, for tests.
            powercap: Replacement for the kernel's directory of energy counters, for tests. By default they are read
                where this process may use all cores of the node.
            pm_counters: Replacement for the directory of Cray's counters, for tests.
        """
        self._path, self._exclusive, self._interval, self._nvml = path, exclusive, interval, nvml
        self._pm_counters, whole_node = pm_counters, has_all_cores(os.environ)
        self._powercap = powercap or (POWERCAP if whole_node else None)
        self._pm_counters_of_processors = pm_counters if whole_node else None
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._change = threading.Condition()
        self._asked = self._answered = 0
        self._joules: float | None = None
        self._stopped = False
        self.energy_of: EnergyOf | None = None
        """Parts whose energy is measured, after the first call of `energy`; None where it is unknown."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the thread."""
        try:
            self._thread.start()
        except RuntimeError:  # the process cannot start another thread
            self._stopped = True

    def close(self) -> None:
        """Stop the thread; called once, also when it was never started."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        if self._thread.ident is not None:
            self._thread.join(_ANSWER_TIMEOUT)

    def energy(self) -> float | None:
        """Energy of this node so far in joules, from an arbitrary start: the difference of two calls is meaningful.

        None where it is unknown, or the driver does not answer in time.
        """
        if not self._exclusive:
            return None
        with self._change:
            # a driver that hangs costs the timeout only once
            timeout = _ANSWER_TIMEOUT if self._answered == self._asked else 0.0
            self._asked += 1
            number = self._asked
            self._change.notify_all()
            self._change.wait_for(lambda: self._answered >= number or self._stopped, timeout)
            return self._joules if self._answered >= number else None

    def since(self, energy_before: float | None) -> NodeMeasurements:
        """Measurements of this node since `energy` returned `energy_before`."""
        joules = None if energy_before is None else self.energy()
        if joules is None or energy_before is None:
            return NodeMeasurements()
        return NodeMeasurements(energy=joules - energy_before, energy_of=self.energy_of)

    def _run(self) -> None:
        # a signal delivered to this thread would not wake the main thread, which waits for it
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._sample()
        except Exception as error:
            print(f"telemetry ended: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        with self._change:
            self._stopped = True
            self._change.notify_all()

    def _sample(self) -> None:
        processors = Processors(self._powercap, self._pm_counters_of_processors)
        accelerators = Accelerators(self._nvml)
        sources: list[Source] = [processors, accelerators, CrayNode(self._pm_counters), Traffic()]
        parts: list[EnergySource] = [part for part in (accelerators, processors) if part.counted]
        self.energy_of = _ENERGY_PARTS[accelerators.counted, processors.counted]
        lines = _LinesFile(self._path)
        sample_due = line_due = time.monotonic()
        with closing(accelerators):
            while self._wait(min(sample_due, line_due)):
                asked, present = self._asked, time.monotonic()
                joules = None
                if asked > self._answered or present >= line_due:
                    joules = sum_known([part.joules() for part in parts])
                    self._answer(asked, joules)
                if present >= sample_due:
                    for source in sources:
                        source.sample()
                    sample_due = max(sample_due + min(_SAMPLE_INTERVAL, self._interval), time.monotonic())
                if present >= line_due:
                    lines.append(_line(sources) | {"energy_joules": joules})
                    line_due = max(line_due + self._interval, time.monotonic())

    def _wait(self, due: float) -> bool:
        """Wait until something is due or the energy is asked for; return False when the thread is to end."""
        with self._change:
            timeout = max(due - time.monotonic(), 0.0)
            self._change.wait_for(lambda: self._stopped or self._asked > self._answered, timeout)
            return not self._stopped

    def _answer(self, asked: int, joules: float | None) -> None:
        with self._change:
            self._joules, self._answered = joules, asked
            self._change.notify_all()


def _line(sources: Sequence[Source]) -> dict[str, Any]:
    line: dict[str, Any] = {"time": format_time(now())}
    for source in sources:
        line |= source.line()
    return line


class _LinesFile:
    """File of JSON lines that ends after `_MAX_LINES`, and at the first line that cannot be written."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        self._remaining = _MAX_LINES
        if path is not None:
            with suppress(OSError):
                self._file = path.open("a", encoding="utf-8", buffering=1)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line."""
        if self._file is None:
            return
        self._remaining -= 1
        try:
            self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:
            print(f"telemetry: no more lines are written: {error.strerror}", file=sys.stderr, flush=True)
            self._remaining = 0
        if not self._remaining:
            with suppress(OSError):
                self._file.close()
            self._file = None
