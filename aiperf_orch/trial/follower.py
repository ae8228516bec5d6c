"""The task of a trial's further nodes: starts the node's workers, and passes on what the first task and they say.

It has no say itself. It ends when the first task tells it to, or is gone, and never before its workers are; its exit
status is 0, for what becomes of the trial is the first task's to tell.
"""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from aiperf_orch.records import TrialSpec
from aiperf_orch.trial import lifeline
from aiperf_orch.trial.allocation import Allocation
from aiperf_orch.trial.channel import Channel
from aiperf_orch.trial.lifecycle import SIGNALS
from aiperf_orch.trial.messages import Order, Report
from aiperf_orch.trial.node import Node, hear_from
from aiperf_orch.trial.telemetry import Telemetry
from aiperf_orch.trial.trainer import TrialFailure
from aiperf_orch.trial.workers import GRACE, work

_LOOK: Final = 0.5  # seconds between two looks at the workers


def follow(
    spec: TrialSpec, path: Path, key: lifeline.Key, allocation: Allocation, telemetry_file: Path | None = None
) -> None:
    """Serve the first task of the trial until it needs this node no more."""
    for number in SIGNALS:  # a batch system tells all tasks; what follows is the first's to decide
        signal.signal(number, signal.SIG_IGN)
    node = Node()
    node.start(allocation.workers, partial(work, spec, path, allocation.accelerators))
    telemetry = Telemetry(telemetry_file, alone=allocation.alone)
    telemetry.start()
    deadline = time.monotonic() + lifeline.MEETING
    try:
        channel = lifeline.find(allocation, key, over=lambda: time.monotonic() > deadline)
        if channel is None:
            print(f"task {allocation.rank}: no first task on {allocation.hosts[0]}: leaving", file=sys.stderr)
            return
        _relay(node, telemetry, channel, allocation.interface or lifeline.interface_at(channel.own_address))
        channel.close()
    except TrialFailure as failure:
        print(f"task {allocation.rank}: {failure}", file=sys.stderr)
    finally:
        node.end(GRACE)
        telemetry.close()


def _relay(node: Node, telemetry: Telemetry, channel: Channel, interface: str | None) -> None:
    before: float | None = None  # joules when the epoch began
    beaten = heard = time.monotonic()
    while not channel.broken and time.monotonic() - heard < lifeline.DESERTED:
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
        if time.monotonic() - beaten > lifeline.BEAT:
            beaten = time.monotonic()
            channel.send(Report(kind="beat").to_line())
        hear_from([channel, *node.channels], _LOOK)
