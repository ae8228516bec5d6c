"""Task of a follower: starts the workers of its node, and passes messages between them and rank 0.

It decides nothing itself. It ends when rank 0 stops it or is gone, and never before its workers. Until it is connected
to rank 0 it also ends on a signal, or when the attempt is over. Its exit status is always 0, because rank 0 reports the
end of the trial.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.attempt import STOP_SIGNALS
from aiperf_orch.trial.runtime.distributed_trainer import STOP_GRACE, run_worker
from aiperf_orch.trial.runtime.interfaces import interface_at
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Command, Reply
from aiperf_orch.trial.runtime.telemetry import Telemetry
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import WorkerPool, wait_readable

_POLL_INTERVAL: Final = 0.5  # seconds between two polls of the workers, at most
_ATTEMPT_CHECK_INTERVAL: Final = 2.0  # seconds between two checks whether the attempt is over


def run_follower(
    spec: TrialSpec,
    path: Path,
    key: rendezvous.TrialKey,
    allocation: Allocation,
    telemetry_file: Path | None = None,
    *,
    address_file: Path | None = None,
    attempt_over: Callable[[], bool] = lambda: False,
) -> None:
    """Run the task of a follower; returns when rank 0 no longer needs this node.

    Args:
        spec: Specification of the trial.
        path: Path of the specification.
        key: Shared secret of the trial's tasks.
        allocation: Allocation of this task.
        telemetry_file: File for the telemetry of this node; None for none.
        address_file: File in which rank 0 publishes where it listens; None without a campaign.
        attempt_over: Returns whether the attempt has ended, so that rank 0 will not listen any more.
    """
    condition = _StopCondition(attempt_over)
    pool = WorkerPool()
    pool.spawn(allocation.workers, partial(run_worker, spec, path, allocation.accelerators))
    telemetry = Telemetry(telemetry_file, exclusive=allocation.exclusive)
    telemetry.start()
    try:
        channel = rendezvous.connect(allocation, key, condition.met, address_file)
        if channel is None:
            reason = condition.reason or f"no connection to rank 0 on {allocation.hosts[0]}"
            print(f"task {allocation.rank}: {reason}: exiting", file=sys.stderr)
            return
        for number in STOP_SIGNALS:  # a batch system signals all tasks; rank 0 decides what follows
            signal.signal(number, signal.SIG_IGN)
        _relay(pool, telemetry, channel, allocation.interface or interface_at(channel.own_address))
        channel.close()
    except TrialFailedError as failure:
        print(f"task {allocation.rank}: {failure}", file=sys.stderr)
    finally:
        pool.stop(STOP_GRACE)
        telemetry.close()


class _StopCondition:
    """Decides whether to stop connecting to rank 0: on a signal, when the attempt is over, or after a timeout."""

    def __init__(self, attempt_over: Callable[[], bool]) -> None:
        self.reason = ""
        self._attempt_over = attempt_over
        self._deadline = time.monotonic() + rendezvous.RENDEZVOUS_TIMEOUT
        self._last_check = 0.0
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def met(self) -> bool:
        """Return whether to stop; `reason` then says why, and is empty after the timeout."""
        now = time.monotonic()
        if not self.reason and now - self._last_check > _ATTEMPT_CHECK_INTERVAL:
            self._last_check = now
            if self._attempt_over():
                self.reason = "the attempt is over"
        return bool(self.reason) or now > self._deadline

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.reason = f"stopped by {signal.Signals(number).name}"


def _relay(pool: WorkerPool, telemetry: Telemetry, channel: Channel, interface: str | None) -> None:
    """Pass commands to the workers and replies to rank 0, until rank 0 stops this task or is lost."""
    energy_before: float | None = None
    last_sent = last_received = time.monotonic()
    while not channel.broken and time.monotonic() - last_received < rendezvous.RANK_0_TIMEOUT:
        for line in channel.receive():
            last_received = time.monotonic()
            command = Command.model_validate_json(line)
            match command.action:
                case "stop":
                    return
                case "dump_stacks":
                    pool.dump_stacks()
                case "heartbeat":
                    pass
                case "join":
                    pool.command(command.model_copy(update={"interface": interface}))
                case action:
                    energy_before = telemetry.energy() if action == "run_epoch" else None
                    pool.command(command)
        for reply in pool.poll():
            measured = telemetry.since(energy_before) if reply.kind == "done" else None
            channel.send(reply.model_copy(update={"node": measured}).to_line())
        if time.monotonic() - last_sent > rendezvous.HEARTBEAT_INTERVAL:
            last_sent = time.monotonic()
            channel.send(Reply(kind="heartbeat").to_line())
        wait_readable([channel, *pool.channels], _POLL_INTERVAL)
