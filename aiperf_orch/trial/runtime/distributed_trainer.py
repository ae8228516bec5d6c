"""Rank-0 side of a distributed trial: drives local workers and, over control connections, those of other nodes.

It loads no torch: so the task answers signals at once, outlives a worker's crash or hang, and always ends the attempt
with a reason. `worker` executes the commands, `follower` passes them on to the workers of another node.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, NoReturn, cast

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import EpochMeasurements, NodeMeasurements, TrainingSetup
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.interfaces import LOOPBACK, address_of, interface_at, listen
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Command, Reply
from aiperf_orch.trial.runtime.telemetry import Telemetry, combine_nodes
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import WorkerPool, parse_replies, wait_readable
from aiperf_orch.trial.torch_check import require_torch

STOP_GRACE: Final = 3.0  # seconds for workers to exit by themselves
_POLL_INTERVAL: Final = 0.2  # seconds between two calls of `check`, at most
_MAX_POLL_SECONDS: Final = 1.0  # seconds that one poll counts for: a job that the batch system suspends does not hang
_LAST_POLL_SECONDS: Final = 0.5  # seconds in which a task that is stopped may still find out that a node is lost
_SLOW_SHARE: Final = (
    0.5  # of `training.hang_after`: longer preparation is reported, though data may be copied meanwhile
)
_STACKS_SECONDS: Final = 3.0  # seconds for workers to write their stacks
_BETTER_CAUSE_SECONDS: Final = {0: 0.0, 1: 0.0, 2: 3.0, 3: 20.0}
"""Seconds to wait for a failure that explains more, by `_indirectness` of the best one so far."""


@dataclass(slots=True)
class _Follower:
    """Another node of the trial; `silent` are the seconds since its last message."""

    host: str
    channel: Channel
    first_rank: int
    silent: float = 0.0
    lost: bool = False


class DistributedTrainer:
    """`Trainer` that trains with worker processes; `TrialFailedError` reports also workers and nodes that were lost."""

    def __init__(
        self,
        spec: TrialSpec,
        path: Path,
        key: rendezvous.TrialKey,
        allocation: Allocation,
        telemetry_file: Path | None = None,
        address_file: Path | None = None,
    ) -> None:
        """Keep the arguments; nothing is started yet.

        Args:
            spec: Specification of the trial.
            path: Path of the specification.
            key: Shared secret of the trial's tasks.
            allocation: Allocation of this task.
            telemetry_file: File for the telemetry of this node; None for none.
            address_file: File in which followers look for the address of rank 0; None without a campaign.
        """
        self._spec, self._path, self._key, self._allocation = spec, path, key, allocation
        self._address_file = address_file
        self._pool = WorkerPool()
        self._telemetry = Telemetry(telemetry_file, exclusive=allocation.exclusive)
        self._followers: list[_Follower] = []
        self._size = 0
        self._responsive = False  # whether workers execute commands
        self._last_heartbeat = 0.0

    def prepare(self) -> TrainingSetup:
        """Start the workers, connect the followers, and let all ranks prepare."""
        join = self._start()
        self._telemetry.start()  # not before: it is a thread, and workers are forks
        self._pool.command(join)
        for follower in self._followers:
            own = {"rank": follower.first_rank, "interface": self._allocation.interface}
            follower.channel.send(join.model_copy(update=own).to_line())
        self._collect_replies(detect_hang=False)
        reply = self._execute(Command(action="prepare"), detect_hang=False)[0]
        self._responsive = True
        return cast(TrainingSetup, reply.answer).model_copy(update={"workers": self._size})

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate an epoch on all workers.

        When `check` raises, the workers continue until `close` stops them.
        """
        before = self._telemetry.energy()
        replies = self._execute(Command(action="run_epoch", epoch=epoch), check)
        measured = cast(EpochMeasurements, replies[0].answer)
        nodes = [self._telemetry.since(before), *self._follower_measurements(replies)]
        return replace(measured, **asdict(combine_nodes(nodes)))

    def save_weights(self, path: Path) -> str:
        """Let rank 0 write the weights."""
        return str(self._execute(Command(action="save_weights", path=str(path)))[0].answer)

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Let rank 0 write a checkpoint."""
        self._execute(Command(action="save_checkpoint", path=str(path), epoch=epoch))

    def load_checkpoint(self, path: Path) -> int:
        """Let all ranks continue from rank 0's checkpoint."""
        reply = self._execute(Command(action="load_checkpoint", path=str(path)))[0]
        if reply.kind == "unusable":
            raise ValueError(reply.message)
        return cast(int, reply.answer)

    def close(self) -> None:
        """Stop all workers: with a grace period while they execute commands, otherwise immediately."""
        for follower in self._followers:
            follower.channel.send(Command(action="stop").to_line())
            follower.channel.close()
        self._pool.stop(STOP_GRACE if self._responsive else 0.0)
        self._telemetry.close()

    def _start(self) -> Command:
        """Start the local workers and connect the followers; return the `join` command for the local workers."""
        body = partial(run_worker, self._spec, self._path, self._allocation.accelerators)
        if len(self._allocation.hosts) > 1:
            return self._start_on_several_nodes(body)
        self._size = self._allocation.workers
        if self._size == 1:
            self._pool.spawn(1, body)
            return Command(action="join", interface=self._allocation.interface)
        with socket.create_server((LOOPBACK, 0)) as store:
            self._pool.spawn(self._size, body, store)
            address = store.getsockname()
        return Command(action="join", size=self._size, store=address, interface=interface_at(LOOPBACK))

    def _start_on_several_nodes(self, body: Callable[..., None]) -> Command:
        own = self._allocation
        # the first worker gets the store's socket before the followers are connected: torch is loaded meanwhile
        with closing(listen(own.interface, own.ports)) as store:
            with closing(rendezvous.RendezvousServer(own, self._key)) as server:
                rendezvous.publish_address(server, self._address_file, own)
                self._pool.spawn(own.workers, body, store, close=[server.socket])
                self._size = own.workers
                self._accept_followers(server)
            port = store.getsockname()[1]
        own_address = self._followers[0].channel.own_address
        return Command(
            action="join",
            size=self._size,
            store=(address_of(own.interface) if own.interface else own_address, port),
            interface=own.interface or interface_at(own_address),
        )

    def _accept_followers(self, server: rendezvous.RendezvousServer) -> None:
        """Wait for the tasks of the other nodes, and number their workers."""
        hosts, deadline = self._allocation.hosts, time.monotonic() + rendezvous.RENDEZVOUS_TIMEOUT
        while server.missing:
            if time.monotonic() > deadline:
                missing = ", ".join(hosts[node] for node in sorted(server.missing))
                raise TrialFailedError(
                    EndReason.NODE_FAILURE,
                    f"{missing}: no task of the trial connected from there to {hosts[0]}, port "
                    f"{server.socket.getsockname()[1]}, within {rendezvous.RENDEZVOUS_TIMEOUT:.0f} s: it did not "
                    "start, or the nodes cannot reach each other (scheduler.interface chooses the network, "
                    "scheduler.ports the ports)",
                )
            server.wait(_POLL_INTERVAL)
        for node, (channel, workers) in sorted(server.followers.items()):
            self._followers.append(_Follower(hosts[node], channel, self._size))
            self._size += workers

    def _follower_measurements(self, replies: Mapping[int, Reply]) -> list[NodeMeasurements]:
        """Measurements of each follower, from the last reply of its workers: it covers the whole epoch."""
        nodes = []
        for first, end in pairwise([*(follower.first_rank for follower in self._followers), self._size]):
            *_, last = (reply for rank, reply in replies.items() if first <= rank < end)
            nodes.append(last.node or NodeMeasurements())
        return nodes

    def _execute(
        self, command: Command, check: Callable[[], None] = lambda: None, *, detect_hang: bool = True
    ) -> dict[int, Reply]:
        """Send a command to every rank; return the reply of each, in the order of their arrival."""
        self._pool.command(command)
        for follower in self._followers:
            follower.channel.send(command.to_line())
        return self._collect_replies(check, detect_hang=detect_hang)

    def _collect_replies(self, check: Callable[[], None] = lambda: None, *, detect_hang: bool) -> dict[int, Reply]:
        """Wait until all ranks have replied; with `detect_hang` rank 0 must report steps meanwhile."""
        done: dict[int | None, Reply] = {}
        silent, dumped = 0.0, False
        hang_after = self._spec.training.hang_after
        while len(done) < self._size:
            self._call_check(check)
            replies, elapsed = self._receive(_POLL_INTERVAL)
            silent += elapsed
            self._raise_failure(replies)
            done |= {reply.rank: reply for reply in replies if reply.kind != "step"}
            if any(reply.rank == 0 for reply in replies):
                silent = 0.0
            if detect_hang and silent > hang_after:
                self._fail_hung()
            if not detect_hang and not dumped and silent > hang_after * _SLOW_SHARE:
                dumped = True  # the controller ends an attempt whose begin event does not come
                print(f"warning: still preparing after {silent:.0f} s", file=sys.stderr, flush=True)
                self._dump_stacks()
        return {rank: reply for rank, reply in done.items() if rank is not None}

    def _call_check(self, check: Callable[[], None]) -> None:
        """Call `check`; if it raises while a node is lost, raise the loss, for which the batch system ends the job."""
        try:
            check()
        except BaseException:
            waited = 0.0
            while self._followers and waited < _LAST_POLL_SECONDS:
                replies, elapsed = self._receive(_POLL_INTERVAL)
                waited += elapsed
                self._raise_failure(replies)
            raise

    def _receive(self, timeout: float) -> tuple[list[Reply], float]:
        """Send heartbeats, and wait for replies.

        Returns:
            Replies that arrived within `timeout` seconds, with a failure for each follower that is lost, and the
            elapsed seconds.
        """
        start = time.monotonic()
        if start - self._last_heartbeat > rendezvous.HEARTBEAT_INTERVAL:
            self._last_heartbeat = start
            for follower in self._followers:
                follower.channel.send(Command(action="heartbeat").to_line())
        connected = [follower for follower in self._followers if not follower.lost]
        wait_readable([*self._pool.channels, *(follower.channel for follower in connected)], timeout)
        replies = self._pool.poll()
        elapsed = min(time.monotonic() - start, _MAX_POLL_SECONDS)
        for follower in connected:
            replies += self._receive_from(follower, elapsed)
        return replies, elapsed

    def _receive_from(self, follower: _Follower, elapsed: float) -> list[Reply]:
        lines = follower.channel.receive()
        replies = [reply for reply in parse_replies(lines) if reply.kind != "heartbeat"]
        follower.silent = 0.0 if lines else follower.silent + elapsed
        follower.lost = follower.channel.broken or follower.silent > rendezvous.FOLLOWER_TIMEOUT
        if follower.lost:
            silence = f"has been silent for {rendezvous.FOLLOWER_TIMEOUT:.0f} s"
            state = "ended" if follower.channel.broken else silence
            message = f"the trial's task on {follower.host} {state}: the node may be lost"
            replies.append(Reply(kind="failed", reason=EndReason.NODE_FAILURE, message=message))
        return replies

    def _raise_failure(self, replies: Iterable[Reply]) -> None:
        """Raise the failure that explains most, if there is one.

        After the loss of a rank its peers may report first; for an indirect failure more replies are awaited.
        """
        failures = _failures(replies)
        if not failures:
            return
        self._responsive, waited = False, 0.0
        while waited < _BETTER_CAUSE_SECONDS[_indirectness(failures[0])]:
            more, elapsed = self._receive(_POLL_INTERVAL)
            waited += elapsed
            failures = _failures([*failures, *more])
        raise TrialFailedError(failures[0].reason, failures[0].message)

    def _fail_hung(self) -> NoReturn:
        """Let all workers write their stacks, and raise."""
        self._responsive = False
        self._dump_stacks()
        waited = 0.0
        while waited < _STACKS_SECONDS:
            waited += self._receive(_POLL_INTERVAL)[1]
        message = f"no step ended for {self._spec.training.hang_after:g} s: the job's log has the stacks of the workers"
        raise TrialFailedError(EndReason.HUNG, message)

    def _dump_stacks(self) -> None:
        for follower in self._followers:
            follower.channel.send(Command(action="dump_stacks").to_line())
        self._pool.dump_stacks()


def run_worker(
    spec: TrialSpec,
    path: Path,
    accelerators: int,
    channel: Channel,
    local_rank: int,
    local_size: int,
    store: socket.socket | None,
) -> None:
    """Run a worker, in its own process: the only function here that loads torch."""
    require_torch()
    from aiperf_orch.trial.runtime.worker import Worker

    Worker(channel, spec, path, accelerators, local_rank, local_size, store).run()


def _failures(replies: Iterable[Reply]) -> list[Reply]:
    """Failures, most direct first."""
    return sorted((reply for reply in replies if reply.kind == "failed"), key=_indirectness)


def _indirectness(failure: Reply) -> int:
    """How far a failure is from its cause: 0 for one that the training reports, 3 for the loss of another rank."""
    if failure.lost_peer:
        return 3
    return {EndReason.TRIAL_ERROR: 2, EndReason.NODE_FAILURE: 1}.get(failure.reason, 0)
