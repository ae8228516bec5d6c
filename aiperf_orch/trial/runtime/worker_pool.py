"""Pool of worker processes on one node: spawn, command, poll, stop and reap. Loads no torch.

A worker is a fork of its task and so shares what the task has imported; torch is loaded in workers only. Each worker
has its own Unix process group, together with the processes that it starts, and the kernel kills it when its task dies.
"""

from __future__ import annotations

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
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Command, Reply
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.util.death_signal import die_with

_STACKS_TIMEOUT: Final = 2.0  # seconds until all workers must have begun to write their stacks
_STACKS_DELAY: Final = 0.2  # seconds for the rest of the stacks
_MAX_STACKS: Final = 1 << 18  # bytes per worker
_KILL_TIMEOUT: Final = 10.0  # seconds for killed workers to disappear: a driver may have much to free
_MAX_MESSAGE: Final = 2000  # characters
_IGNORED_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM)

Body = Callable[[Channel, int, int, socket.socket | None], None]
"""What a worker runs, with: channel to its task, local rank, workers on the node, listening socket of the store."""


@dataclass(slots=True)
class WorkerProcess:
    """One worker of the pool.

    Attributes:
        process: Process id.
        channel: Channel to the worker.
        stacks: File descriptor of a file in memory to which the worker writes its stacks.
        rank: Global rank; None before it is known.
        finished: Whether its last reply has been received.
    """

    process: int
    channel: Channel
    stacks: int
    rank: int | None = None
    finished: bool = False


class WorkerPool:
    """Workers of this node."""

    def __init__(self) -> None:
        self._workers: list[WorkerProcess] = []

    @property
    def channels(self) -> list[Channel]:
        """Channels from which replies can still arrive: not those of workers that have sent their last reply."""
        return [worker.channel for worker in self._workers if not (worker.channel.broken or worker.finished)]

    def spawn(
        self, count: int, body: Body, store: socket.socket | None = None, close: Sequence[socket.socket] = ()
    ) -> None:
        """Fork the workers. No thread may run yet.

        Args:
            count: Number of workers.
            body: What each worker runs.
            store: Listening socket of the store, passed to the first worker; None without a store or on a follower.
            close: Sockets of the task that workers must not keep open.
        """
        for local_rank in range(count):
            ours, theirs = socket.socketpair()
            stacks = os.memfd_create("stacks")
            # signals are blocked, so that none arrives in the child while it still has the task's handlers
            before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            task = os.getpid()
            process = os.fork()
            if process == 0:
                own_store = store if local_rank == 0 else None
                for worker in self._workers:
                    worker.channel.close()
                for unused in (ours, *close):
                    unused.close()
                if store is not None and own_store is None:
                    store.close()
                _become_worker(task, stacks)
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                _run_body(body, Channel(theirs), local_rank, count, own_store)
            self._workers.append(WorkerProcess(process, Channel(ours), stacks))
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def command(self, command: Command) -> None:
        """Send a command to each worker; `join` with the rank of each."""
        first = command.rank
        for local_rank, worker in enumerate(self._workers):
            if command.action == "join":
                worker.rank = first + local_rank
                command = command.model_copy(update={"rank": worker.rank})
            worker.channel.send(command.to_line())

    def poll(self) -> list[Reply]:
        """Return the replies that have arrived, and a `failed` reply for each worker that exited without one."""
        replies = []
        for worker in self._workers:
            if worker.finished:
                continue
            failure = _exit_failure(worker)  # before reading: all that the worker sent is then readable
            received = [
                reply.model_copy(update={"rank": worker.rank}) for reply in parse_replies(worker.channel.receive())
            ]
            worker.finished = any(reply.kind == "failed" for reply in received)
            if failure and not worker.finished:
                worker.finished = True
                received.append(failure)
            replies += received
        return replies

    def dump_stacks(self) -> None:
        """Write the stacks of each worker to the log; a stopped worker is continued for it."""
        for worker in self._workers:
            for number in (signal.SIGUSR2, signal.SIGCONT):
                _send_signal(worker, number)
        _wait_until(lambda: all(os.fstat(worker.stacks).st_size for worker in self._workers), _STACKS_TIMEOUT)
        time.sleep(_STACKS_DELAY)  # each file has its first line
        for worker in self._workers:
            written = os.pread(worker.stacks, _MAX_STACKS, 0).decode(errors="replace")
            title = f"the stacks of rank {worker.rank} on {socket.gethostname()}"
            print(f"{title}:\n{written}" if written else f"{title} are not available", file=sys.stderr)
        sys.stderr.flush()

    def stop(self, grace: float = 0.0) -> None:
        """Stop the workers with all processes that they started, and wait until they are gone.

        Args:
            grace: Seconds for the workers to exit by themselves before they are killed.
        """
        self.command(Command(action="stop"))
        if grace:
            _wait_until(self._all_exited, grace)
        for worker in self._workers:
            _send_signal(worker, signal.SIGKILL)
        _wait_until(self._all_exited, _KILL_TIMEOUT)
        for worker in self._workers:
            worker.channel.close()
            os.close(worker.stacks)
            os.waitpid(worker.process, os.WNOHANG)
        self._workers.clear()

    def _all_exited(self) -> bool:
        """Whether all workers have exited. Only `stop` reaps them: until then no other process gets their ids."""
        return all(_exit_status(worker) is not None for worker in self._workers)


def wait_readable(channels: Iterable[Channel], timeout: float) -> None:
    """Wait until one of the channels has data to read, at most `timeout` seconds."""
    with selectors.DefaultSelector() as selector:
        for channel in channels:
            selector.register(channel, selectors.EVENT_READ)
        selector.select(timeout)


def parse_replies(lines: Iterable[bytes]) -> Iterator[Reply]:
    """Parse replies, skipping other lines: a library may have printed into a worker's channel."""
    for line in lines:
        with suppress(ValidationError):
            yield Reply.model_validate_json(line)


def _wait_until(condition: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)


def _exit_status(worker: WorkerProcess) -> os.waitid_result | None:
    """Exit status of a worker, without reaping it; None while it runs."""
    return os.waitid(os.P_PID, worker.process, os.WEXITED | os.WNOHANG | os.WNOWAIT)


def _send_signal(worker: WorkerProcess, number: int) -> None:
    """Send a signal to a worker and the processes that it started."""
    with suppress(ProcessLookupError):
        os.killpg(worker.process, number)


def _exit_failure(worker: WorkerProcess) -> Reply | None:
    """Failure of a worker that has exited; None while it runs."""
    ended = _exit_status(worker)
    if ended is None:
        return None
    name = f"the worker of rank {worker.rank}" if worker.rank is not None else "a worker"
    name += f" on {socket.gethostname()}"
    reason = EndReason.TRIAL_ERROR
    if ended.si_code == os.CLD_EXITED:
        message = f"{name} exited with status {ended.si_status}"
    elif ended.si_status == signal.SIGKILL:
        reason = EndReason.NODE_FAILURE
        message = (
            f"{name} was killed by a process outside the trial: the kernel does that when the node runs out of memory "
            "(see the node's kernel log)"
        )
    else:
        message = f"{name} was terminated by {signal.Signals(ended.si_status).name}"
    return Reply(kind="failed", rank=worker.rank, reason=reason, message=message)


def _become_worker(task: int, stacks: int) -> None:
    """Set up the forked process: own process group, death together with its task, stacks on SIGUSR2, no input."""
    os.setpgid(0, 0)
    die_with(task)
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # batch systems signal all processes; the task decides what follows
    faulthandler.register(signal.SIGUSR2, stacks)  # works also while the interpreter waits
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _run_body(body: Body, channel: Channel, local_rank: int, local_size: int, store: socket.socket | None) -> NoReturn:
    """Run a worker's body, report an exception, and exit without returning to the task's code."""
    status = 1
    try:
        body(channel, local_rank, local_size, store)
        status = 0
    except TrialFailedError as failure:
        message = f"{socket.gethostname()}: {failure}"
        channel.send(Reply(kind="failed", reason=failure.reason, message=message[:_MAX_MESSAGE]).to_line())
    except BaseException as error:
        traceback.print_exc()
        message = f"a worker on {socket.gethostname()}: {type(error).__name__}: {error}"
        channel.send(Reply(kind="failed", message=message[:_MAX_MESSAGE]).to_line())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
