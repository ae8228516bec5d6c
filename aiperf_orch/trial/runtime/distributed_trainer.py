"""The trainer of a torch trial as its first task has it: workers on this node, and by lifelines those of the others.

It loads no torch: so the task answers signals at once, outlives a worker's crash or hang, and always ends the attempt with a
reason. What a worker does with an order is `worker`'s, how another node's task passes it on `follower`'s.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final, NoReturn, cast

from aiperf_orch.records.base import EndReason
from aiperf_orch.records.trial import TrialSpec
from aiperf_orch.trial.runtime import rendezvous
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.messages import Order, Report
from aiperf_orch.trial.runtime.telemetry import Energy, Telemetry, total
from aiperf_orch.trial.runtime.trainer import EpochMeasurements, TrainingSetup, TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import Node, hear_from, reports_in

_LOOK: Final = 0.2  # seconds between two calls of `check`, at most
_LONGEST_LOOK: Final = 1.0  # seconds that one look counts for: a job that the batch system suspends does not hang
_LAST_WORDS: Final = 0.5  # seconds in which a lost node is noticed by a task that is told to end
_PATIENCE: Final = (0.0, 0.0, 3.0, 20.0)  # seconds for another failure to be heard of that tells more, by `_telling`
GRACE: Final = 3.0  # seconds for workers to end what they started
_SLOW: Final = 0.5  # of `training.hang_after`: longer preparing is worth a look, though data may be copied meanwhile
_STACKS: Final = 3.0  # seconds for workers to write their stacks


@dataclass(slots=True)
class _Other:
    """Another node of the trial."""

    host: str
    channel: Channel
    first_rank: int
    silent: float = 0.0
    lost: bool = False


class Workers:
    """Trains by workers; `Trainer` says what the methods do, and `TrialFailedError` also tells of workers and nodes lost."""

    def __init__(
        self,
        spec: TrialSpec,
        path: Path,
        key: rendezvous.Key,
        allocation: Allocation,
        telemetry_file: Path | None = None,
        announced: Path | None = None,
    ) -> None:
        """Keep what to train and where; nothing is started yet.

        Args:
            spec: the trial.
            path: the specification's file.
            key: what proves that a task is of the trial.
            allocation: this task's.
            telemetry_file: where to write what the node does.
            announced: the file in which the other nodes' tasks look for where this one listens.
        """
        self._spec, self._path, self._key, self._allocation = spec, path, key, allocation
        self._announced = announced
        self._node = Node()
        self._telemetry = Telemetry(telemetry_file, alone=allocation.alone)
        self._others: list[_Other] = []
        self._size = 0
        self._work = False  # whether orders are obeyed
        self._beaten = 0.0

    def prepare(self) -> TrainingSetup:
        """Start the workers, meet the other nodes, and let all prepare."""
        here, nodes = self._allocation, len(self._allocation.hosts)
        body = partial(work, self._spec, self._path, here.accelerators)
        interface, address = here.interface, None
        if nodes > 1:
            # rank 0 takes it along before the others are there, so that torch is loaded meanwhile
            store = rendezvous.listen(interface, here.ports)
            with closing(rendezvous.Meeting(here, self._key)) as meeting:
                rendezvous.announce(meeting, self._announced, here)
                self._node.start(here.workers, body, store, close=[meeting.socket])
                self._size = here.workers
                self._meet(meeting)
            own = self._others[0].channel.own_address
            interface = interface or rendezvous.interface_at(own)
            address = (rendezvous.address_of(here.interface) if here.interface else own, store.getsockname()[1])
            store.close()
        elif here.workers > 1:
            store = socket.create_server((rendezvous.LOOPBACK, 0))
            self._node.start(here.workers, body, store)
            self._size, address = here.workers, store.getsockname()
            interface = rendezvous.interface_at(rendezvous.LOOPBACK)
            store.close()
        else:
            self._node.start(1, body)
            self._size = 1
        self._telemetry.start()  # not before: it is a thread, and workers are forks
        join = Order(do="join", size=self._size, store=address, interface=interface)
        self._node.tell(join)
        for other in self._others:
            told = {"rank": other.first_rank, "interface": here.interface}
            other.channel.send(join.model_copy(update=told).to_line())
        self._collect(watched=False)
        equipment = cast(TrainingSetup, self._order(Order(do="prepare"), watched=False)[0].answer)
        self._work = True
        return replace(equipment, workers=self._size)

    def run_epoch(self, epoch: int, check: Callable[[], None]) -> EpochMeasurements:
        """Train and validate an epoch on all workers.

        When `check` raises, the workers are left where they are, for `close` to tell them to end.
        """
        before = self._telemetry.energy()
        reports = self._order(Order(do="epoch", epoch=epoch), check)
        nodes = [self._telemetry.since(before)]
        for first, end in pairwise([*(other.first_rank for other in self._others), self._size]):
            nodes.append(_last(reports[rank] for rank in range(first, end)))
        return replace(cast(EpochMeasurements, reports[0].answer), **total(nodes)._asdict())

    def save_weights(self, path: Path) -> str:
        """Let rank 0 write the weights."""
        return str(self._order(Order(do="save_weights", path=str(path)))[0].answer)

    def save_checkpoint(self, path: Path, epoch: int) -> None:
        """Let rank 0 write a checkpoint."""
        self._order(Order(do="save_checkpoint", path=str(path), epoch=epoch))

    def load_checkpoint(self, path: Path) -> int:
        """Let all ranks go on from rank 0's checkpoint."""
        report = self._order(Order(do="load_checkpoint", path=str(path)))[0]
        if report.kind == "unusable":
            raise ValueError(report.message)
        return cast(int, report.answer)

    def close(self) -> None:
        """End all workers: in good order where they still work, else at once."""
        for other in self._others:
            other.channel.send(Order(do="end").to_line())
            other.channel.close()
        self._node.end(GRACE if self._work else 0.0)
        self._telemetry.close()

    def _meet(self, meeting: rendezvous.Meeting) -> None:
        """Wait for the tasks of the other nodes, and number their workers."""
        hosts, deadline = self._allocation.hosts, time.monotonic() + rendezvous.MEETING
        while meeting.missing:
            if time.monotonic() > deadline:
                who = ", ".join(hosts[node] for node in sorted(meeting.missing))
                port = meeting.socket.getsockname()[1]
                message = (
                    f"{who}: no task of the trial came from there to {hosts[0]}, port {port}, within "
                    f"{rendezvous.MEETING:.0f} s: it did not start, or the nodes do not reach each other "
                    "(scheduler.interface chooses the network, scheduler.ports the ports)"
                )
                raise TrialFailedError(EndReason.NODE_FAILURE, message)
            meeting.wait(_LOOK)
        for node, (channel, workers) in sorted(meeting.found.items()):
            self._others.append(_Other(hosts[node], channel, self._size))
            self._size += workers

    def _order(
        self, order: Order, check: Callable[[], None] = lambda: None, *, watched: bool = True
    ) -> dict[int, Report]:
        """Give an order to every rank; returns the report of each when all have obeyed."""
        self._node.tell(order)
        for other in self._others:
            other.channel.send(order.to_line())
        return self._collect(check, watched=watched)

    def _collect(self, check: Callable[[], None] = lambda: None, *, watched: bool) -> dict[int, Report]:
        """Wait until all ranks have obeyed; `watched` says whether rank 0 must report steps meanwhile."""
        done: dict[int | None, Report] = {}
        silent, dumped = 0.0, False
        while len(done) < self._size:
            self._check(check)
            reports, passed = self._hear(_LOOK)
            silent += passed
            self._raise_failure(reports)
            for report in reports:
                if report.kind != "step":
                    done[report.rank] = report
                if report.rank == 0:
                    silent = 0.0
            if watched and silent > self._spec.training.hang_after:
                self._end_hung()
            if not watched and not dumped and silent > self._spec.training.hang_after * _SLOW:
                dumped = True  # who waits for the trial's begin ends it, where it hangs
                print(f"warning: still preparing after {silent:.0f} s", file=sys.stderr, flush=True)
                self._dump()
        return {rank: report for rank, report in done.items() if rank is not None}

    def _check(self, check: Callable[[], None]) -> None:
        """Call `check`. A batch system may tell this task to end because a node is lost: that is then the reason."""
        try:
            check()
        except BaseException:
            waited = 0.0
            while self._others and waited < _LAST_WORDS:
                reports, passed = self._hear(_LOOK)
                waited += passed
                self._raise_failure(reports)
            raise

    def _hear(self, seconds: float) -> tuple[list[Report], float]:
        """What is said within so many seconds, and how many of them passed; a node that is lost has failed."""
        now = time.monotonic()
        if now - self._beaten > rendezvous.BEAT:
            self._beaten = now
            for other in self._others:
                other.channel.send(Order(do="beat").to_line())
        others = [other for other in self._others if not other.lost]
        hear_from([*self._node.channels, *(other.channel for other in others)], seconds)
        reports = self._node.hear()
        passed = min(time.monotonic() - now, _LONGEST_LOOK)
        for other in others:
            lines = other.channel.receive()
            reports += [report for report in reports_in(lines) if report.kind != "beat"]
            other.silent = 0.0 if lines else other.silent + passed
            other.lost = other.channel.broken or other.silent > rendezvous.SILENCE
            if other.lost:
                how = "ended" if other.channel.broken else f"has been silent for {rendezvous.SILENCE:.0f} s"
                message = f"the trial's task on {other.host} {how}: the node may be lost"
                reports.append(Report(kind="failed", reason=EndReason.NODE_FAILURE, message=message))
        return reports, passed

    def _raise_failure(self, reports: Iterable[Report]) -> None:
        """Raise what tells most of a failure, where one is reported; others may say more of it than the first who do.

        When a rank is gone, those that lost it may say so before anybody else.
        """
        failures = _failures(reports)
        if not failures:
            return
        self._work, waited = False, 0.0
        while waited < _PATIENCE[_telling(failures[0])]:
            more, passed = self._hear(_LOOK)
            waited += passed
            failures = _failures([*failures, *more])
        raise TrialFailedError(failures[0].reason, failures[0].message)

    def _end_hung(self) -> NoReturn:
        """Let all workers write where they are, and raise."""
        self._work = False
        self._dump()
        waited = 0.0
        while waited < _STACKS:
            waited += self._hear(_LOOK)[1]
        message = f"no step ended for {self._spec.training.hang_after:g} s: the workers' stacks stand in the job's log"
        raise TrialFailedError(EndReason.HUNG, message)

    def _dump(self) -> None:
        """Let the workers of all nodes write where they are."""
        for other in self._others:
            other.channel.send(Order(do="dump").to_line())
        self._node.dump()


def work(
    spec: TrialSpec,
    path: Path,
    accelerators: int,
    channel: Channel,
    local_rank: int,
    local_size: int,
    store: socket.socket | None,
) -> None:
    """What a worker does from its start on; only here torch is loaded."""
    from aiperf_orch.trial.runtime.worker import Worker

    Worker(channel, spec, path, accelerators, local_rank, local_size, store).run()


def _last(reports: Iterable[Report]) -> Energy:
    """A node's energy for an epoch: what was known when the last of its workers reported."""
    taken = [Energy(report.energy, report.energy_of) for report in reports]
    return max(taken, key=lambda each: (each.energy is None, each.energy))


def _failures(reports: Iterable[Report]) -> list[Report]:
    """Those that tell of a failure, the most telling first."""
    return sorted((report for report in reports if report.kind == "failed"), key=_telling)


def _telling(failure: Report) -> int:
    """How little a failure tells of its cause: 0 what the training itself says, 3 that others are gone."""
    if failure.bereft:
        return 3
    return {EndReason.TRIAL_ERROR: 2, EndReason.NODE_FAILURE: 1}.get(failure.reason, 0)
