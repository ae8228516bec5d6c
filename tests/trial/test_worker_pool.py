"""Worker pool and rank 0: the most direct failure of several is reported, and finished workers are not polled."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from aiperf_orch.campaign.measured_trial import measured_trial
from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.events import NodeMeasurements
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.settings.models import TrainingSettings
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.distributed_trainer import DistributedTrainer
from aiperf_orch.trial.runtime.json_channel import Channel
from aiperf_orch.trial.runtime.messages import Reply
from aiperf_orch.trial.runtime.rendezvous import TrialKey
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import WorkerPool, WorkerProcess, parse_replies

LOST_PEER = Reply(kind="failed", rank=0, reason=EndReason.NODE_FAILURE, message="rank 0 lost another", lost_peer=True)
KILLED = Reply(kind="failed", rank=1, reason=EndReason.NODE_FAILURE, message="the worker of rank 1 was killed")
NO_MEMORY = Reply(kind="failed", rank=2, reason=EndReason.OUT_OF_MEMORY, message="a batch of 2 does not fit")


class _ScriptedPool(WorkerPool):
    """Pool whose successive polls return the given replies."""

    def __init__(self, *polls: list[Reply]) -> None:
        super().__init__()
        self._polls = list(polls)

    def poll(self) -> list[Reply]:
        return self._polls.pop(0) if self._polls else []


@pytest.mark.parametrize(
    ("polls", "reported"),
    [
        ([[LOST_PEER, KILLED]], KILLED),
        ([[LOST_PEER], [], [KILLED]], KILLED),
        ([[LOST_PEER, NO_MEMORY, KILLED]], NO_MEMORY),
        ([[NO_MEMORY]], NO_MEMORY),
    ],
)
def test_the_most_direct_failure_is_reported(polls: list[list[Reply]], reported: Reply) -> None:
    spec = measured_trial(seeds.small_residual(), DataRecord(), TrainingSettings(), batch=32, epochs=1)
    key, allocation = TrialKey("0" * 64, 1, "job", 0), Allocation.from_environment({})
    trainer = DistributedTrainer(spec, Path("spec"), key, allocation)
    trainer._pool, trainer._size = _ScriptedPool(*polls), 4
    with pytest.raises(TrialFailedError, match=reported.message) as raised:
        trainer._collect_replies(detect_hang=False)
    assert raised.value.reason is reported.reason


def test_a_worker_that_has_sent_its_last_reply_is_not_polled() -> None:
    ours, theirs = socket.socketpair()
    pool, stacks = WorkerPool(), os.memfd_create("stacks")
    with subprocess.Popen(["sleep", "600"]) as process:
        pool._workers.append(WorkerProcess(process.pid, Channel(ours), stacks, rank=0))
        assert len(pool.channels) == 1
        theirs.sendall(LOST_PEER.to_line())
        theirs.close()
        replies = pool.poll()
        process.kill()
    assert replies == [LOST_PEER]
    assert pool.channels == []
    ours.close()
    os.close(stacks)


def test_lines_that_are_not_replies_are_skipped() -> None:
    reply = Reply(kind="done", rank=3, answer=7, node=NodeMeasurements(energy=1.5, energy_of="processors"))
    assert list(parse_replies([b"NCCL version 2.21", reply.to_line(), b"{}"])) == [reply]
