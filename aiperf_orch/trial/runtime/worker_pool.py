"""The workers of one node, as the node's task has them: started, told, heard, and never left behind. Without torch.

A worker is a fork of its task, which so shares what is imported already; torch is loaded in workers only. Each has a process
group of its own, with whatever it starts itself, and the kernel ends it when its task dies.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from pydantic import ValidationError

from aiperf_orch.records.base import EndReason
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.messages import Order, Report

_PR_SET_PDEATHSIG: Final = 1
_DUMPING: Final = 2.0  # seconds for all workers to write their stacks
_LINE: Final = 0.2  # seconds for the rest of them
_LONGEST_STACKS: Final = 1 << 18  # bytes of one worker's
_PATIENCE: Final = 10.0  # seconds for killed workers to be gone: a driver may have much to free

Body = Callable[[Channel, int, int, socket.socket | None], None]
"""What a worker does: with its channel, its number among so many of the node, and the socket of rank 0's store."""


@dataclass(slots=True)
class _Worker:
    """A process of ours; it is `over` when its last report is known. Its `stacks` are a file in memory."""

    process: int
    channel: Channel
    stacks: int
    rank: int | None = None
    over: bool = False


class Node:
    """The workers of this node."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []

    @property
    def channels(self) -> list[Channel]:
        """What to wait on for reports: not on who has said its last, whose channel is at its end for good."""
        return [worker.channel for worker in self._workers if not (worker.channel.broken or worker.over)]

    def start(
        self, count: int, body: Body, store: socket.socket | None = None, close: Sequence[socket.socket] = ()
    ) -> None:
        """Fork the workers. No thread may run yet.

        Args:
            count: how many.
            body: what each does.
            store: goes to the first worker of the first node.
            close: the task's own sockets, of no use to workers.
        """
        for local_rank in range(count):
            ours, theirs = socket.socketpair()
            stacks = os.memfd_create("stacks")
            # a signal must not find the fork half done, nor its child with the task's handlers
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            task = os.getpid()
            process = os.fork()
            if process == 0:
                for worker in self._workers:
                    worker.channel.close()
                for each in (ours, *close, *([store] if store and local_rank else [])):
                    each.close()
                _become_worker(task, stacks)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                _live(body, Channel(theirs), local_rank, count, None if local_rank else store)
            self._workers.append(_Worker(process, Channel(ours), stacks))
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def tell(self, order: Order) -> None:
        """Pass an order on to each worker; `join` with the rank of each."""
        first = order.rank
        for local_rank, worker in enumerate(self._workers):
            if order.do == "join":
                worker.rank = first + local_rank
                order = order.model_copy(update={"rank": worker.rank})
            worker.channel.send(order.to_line())

    def hear(self) -> list[Report]:
        """What workers have said by now; for one that died without a word, what became of it."""
        reports = []
        for worker in self._workers:
            if worker.over:
                continue
            death = _death(worker)  # before reading: what it said before it died is all there then
            said = [each.model_copy(update={"rank": worker.rank}) for each in reports_in(worker.channel.receive())]
            worker.over = any(report.kind == "failed" for report in said)
            if death and not worker.over:
                worker.over = True
                said.append(death)
            reports += said
        return reports

    def dump(self) -> None:
        """Write to the log where each worker is; one that was stopped is woken for it."""
        for worker in self._workers:
            for number in (signal.SIGUSR2, signal.SIGCONT):
                _signal(worker, number)
        _wait(lambda: all(os.fstat(worker.stacks).st_size for worker in self._workers), _DUMPING)
        time.sleep(_LINE)  # the first of a stack is there
        for worker in self._workers:
            written = os.pread(worker.stacks, _LONGEST_STACKS, 0).decode(errors="replace")
            who = f"the stacks of rank {worker.rank} on {socket.gethostname()}"
            print(f"{who}:\n{written}" if written else f"{who} did not come", file=sys.stderr)
        sys.stderr.flush()

    def end(self, grace: float = 0.0) -> None:
        """End the workers with all that they started, and wait until they are gone.

        Args:
            grace: seconds that they get to do so themselves.
        """
        self.tell(Order(do="end"))
        if grace:
            _wait(lambda: all(map(_has_ended, self._workers)), grace)
        for worker in self._workers:
            _signal(worker, signal.SIGKILL)
        _wait(lambda: all(map(_has_ended, self._workers)), _PATIENCE)
        for worker in self._workers:
            worker.channel.close()
            os.close(worker.stacks)
            os.waitpid(worker.process, os.WNOHANG)
        self._workers.clear()


def hear_from(channels: Iterable[Channel], seconds: float) -> None:
    """Wait until one of the channels has something to read, for so many seconds at most."""
    with selectors.DefaultSelector() as selector:
        for channel in channels:
            selector.register(channel, selectors.EVENT_READ)
        selector.select(seconds)


def reports_in(lines: Iterable[bytes]) -> Iterator[Report]:
    """The reports in these lines; what is none is left out: a library may have printed into a worker's channel."""
    for line in lines:
        with suppress(ValidationError):
            yield Report.model_validate_json(line)


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def _has_ended(worker: _Worker) -> bool:
    """Whether it is gone. Only `end` reaps it: until then its id is nobody else's, for what it started lives on."""
    return _status(worker) is not None


def _status(worker: _Worker) -> os.waitid_result | None:
    return os.waitid(os.P_PID, worker.process, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def _signal(worker: _Worker, number: int) -> None:
    """Send a signal to a worker and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(worker.process, number)


def _death(worker: _Worker) -> Report | None:
    """What a worker died of, for a person; None while it lives."""
    ended = _status(worker)
    if ended is None:
        return None
    who = f"the worker of rank {worker.rank}" if worker.rank is not None else "a worker"
    who += f" on {socket.gethostname()}"
    if ended.si_code == os.CLD_EXITED:
        message, reason = f"{who} ended with exit status {ended.si_status}", EndReason.TRIAL_ERROR
    elif ended.si_status == signal.SIGKILL:
        message, reason = f"{who} was killed, by nobody of the trial", EndReason.NODE_FAILURE
        message += ": the kernel does that when memory does not suffice (see its log on the node)"
    else:
        name = signal.Signals(ended.si_status).name
        message, reason = f"{who} was ended by {name}", EndReason.TRIAL_ERROR
    return Report(kind="failed", rank=worker.rank, reason=reason, message=message)


def _become_worker(task: int, stacks: int) -> None:
    """In the fork: a process group of its own that the task's signals do not reach, and no life after the task's."""
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != task:
        os._exit(1)  # it died before the kernel was told
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)  # batch systems send them to all processes; the task decides what follows
    faulthandler.register(signal.SIGUSR2, stacks)  # whatever the interpreter is waiting for
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


def _live(body: Body, channel: Channel, local_rank: int, local_size: int, store: socket.socket | None) -> NoReturn:
    """Do what a worker does, and never come back to what the task was doing."""
    status = 1
    try:
        body(channel, local_rank, local_size, store)
        status = 0
    except BaseException as error:
        traceback.print_exc()
        message = f"a worker on {socket.gethostname()}: {type(error).__name__}: {error}"
        channel.send(Report(kind="failed", message=message[:2000]).to_line())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
