"""The task of a trial's further nodes: starts the node's workers, and passes on what the first task and they say.

It has no say itself. It ends when the first task tells it to, or is gone, and never before its workers are; until it has
found the first task it also ends by a signal, or when the attempt is over. Its exit status is 0, for what becomes of the
trial is the first task's to tell.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import SIGNALS
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.distributed_trainer import GRACE, work
from aiperf_orch.trial.runtime.messages import Order, Report
from aiperf_orch.trial.runtime.telemetry import Telemetry
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import Node, hear_from

_LOOK: Final = 0.5  # seconds between two looks at the workers
_ASK: Final = 2.0  # seconds between two looks at whether the attempt is over


def follow(
    spec: TrialSpec,
    path: Path,
    key: rendezvous.Key,
    allocation: Allocation,
    telemetry_file: Path | None = None,
    *,
    announced: Path | None = None,
    attempt_over: Callable[[], bool] = lambda: False,
) -> None:
    """Serve the first task of the trial until it needs this node no more.

    Args:
        spec: the trial.
        path: the specification's file.
        key: what proves that this task is of the trial.
        allocation: this task's.
        telemetry_file: where to write what the node does.
        announced: the file in which the first task says where it listens.
        attempt_over: whether the attempt has ended: then no first task will come any more.
    """
    left = _Leaving(attempt_over)
    node = Node()
    node.start(allocation.workers, partial(work, spec, path, allocation.accelerators))
    telemetry = Telemetry(telemetry_file, alone=allocation.alone)
    telemetry.start()
    try:
        channel = rendezvous.find(allocation, key, left.wanted, announced)
        if channel is None:
            why = left.why or f"no first task on {allocation.hosts[0]}"
            print(f"task {allocation.rank}: {why}: leaving", file=sys.stderr)
            return
        for number in SIGNALS:  # a batch system tells all tasks; what follows is the first's to decide
            signal.signal(number, signal.SIG_IGN)
        _relay(node, telemetry, channel, allocation.interface or rendezvous.interface_at(channel.own_address))
        channel.close()
    except TrialFailedError as failure:
        print(f"task {allocation.rank}: {failure}", file=sys.stderr)
    finally:
        node.end(GRACE)
        telemetry.close()


class _Leaving:
    """Whether to leave before the first task was found: told by a signal, the attempt is over, or the time is."""

    def __init__(self, attempt_over: Callable[[], bool]) -> None:
        self.why = ""
        self._attempt_over = attempt_over
        self._deadline = time.monotonic() + rendezvous.MEETING
        self._asked = 0.0
        for number in SIGNALS:
            signal.signal(number, lambda number, _: self._tell(number))

    def _tell(self, number: int) -> None:
        self.why = f"told to end by {signal.Signals(number).name}"

    def wanted(self) -> bool:
        """Whether there is a reason to leave."""
        present = time.monotonic()
        if not self.why and present - self._asked > _ASK:
            self._asked = present
            if self._attempt_over():
                self.why = "the attempt is over"
        return bool(self.why) or present > self._deadline


def _relay(node: Node, telemetry: Telemetry, channel: Channel, interface: str | None) -> None:
    before: float | None = None  # joules when the epoch began
    beaten = heard = time.monotonic()
    while not channel.broken and time.monotonic() - heard < rendezvous.DESERTED:
        for line in channel.receive():
            heard = time.monotonic()
            order = Order.model_validate_json(line)
            match order.do:
                case "end":
                    return
                case "dump":
                    node.dump()
                case "join":
                    node.tell(order.model_copy(update={"interface": interface}))
                case "beat":
                    pass
                case _:
                    before = telemetry.energy() if order.do == "epoch" else None
                    node.tell(order)
        for report in node.hear():
            if report.kind == "done":
                report = report.model_copy(update=telemetry.since(before)._asdict())
            channel.send(report.to_line())
        if time.monotonic() - beaten > rendezvous.BEAT:
            beaten = time.monotonic()
            channel.send(Report(kind="beat").to_line())
        hear_from([channel, *node.channels], _LOOK)
