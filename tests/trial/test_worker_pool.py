"""A failure of many workers is told by the report that says most, however the reports come."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.network import seeds
from aiperf_orch.records.base import EndReason
from aiperf_orch.settings.models import DataSettings, TrainingSettings
from aiperf_orch.trial.bench import specification
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.trial.runtime.channel import Channel
from aiperf_orch.trial.runtime.distributed_trainer import Workers
from aiperf_orch.trial.runtime.messages import Report
from aiperf_orch.trial.runtime.rendezvous import Key
from aiperf_orch.trial.runtime.trainer import TrialFailedError
from aiperf_orch.trial.runtime.worker_pool import Node, _Worker

LOST = Report(kind="failed", rank=0, reason=EndReason.NODE_FAILURE, message="rank 0 lost another", bereft=True)
KILLED = Report(kind="failed", rank=1, reason=EndReason.NODE_FAILURE, message="the worker of rank 1 was killed")
NO_MEMORY = Report(kind="failed", rank=2, reason=EndReason.OUT_OF_MEMORY, message="a batch of 2 does not fit")


class _Heard(Node):
    """A node whose workers have said this, in turn."""

    def __init__(self, *said: list[Report]) -> None:
        super().__init__()
        self._said = list(said)

    def hear(self) -> list[Report]:
        return self._said.pop(0) if self._said else []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([[LOST, KILLED]], KILLED),
        ([[LOST], [], [KILLED]], KILLED),
        ([[LOST, NO_MEMORY, KILLED]], NO_MEMORY),
        ([[NO_MEMORY]], NO_MEMORY),
    ],
)
def test_who_lost_others_waits_for_those_to_tell(said: list[list[Report]], told: Report) -> None:

    spec = specification(seeds.small_residual(), DataSettings(), TrainingSettings(), batch=32, epochs=1)
    workers = Workers(spec, Path("spec"), Key("0" * 64, 1, "job", 0), Allocation.from_environment({}))
    workers._node, workers._size = _Heard(*said), 4
    with pytest.raises(TrialFailedError, match=told.message) as raised:
        workers._collect(watched=False)
    assert raised.value.reason is told.reason


def test_nobody_waits_on_a_worker_that_has_said_its_last() -> None:
    ours, theirs = socket.socketpair()
    node, stacks = Node(), os.memfd_create("stacks")
    with subprocess.Popen(["sleep", "600"]) as process:
        node._workers.append(_Worker(process.pid, Channel(ours), stacks, rank=0))
        assert len(node.channels) == 1
        theirs.sendall(LOST.to_line())
        theirs.close()
        said: list[Any] = node.hear()
        process.kill()
    assert said == [LOST]
    assert node.channels == []
    ours.close()
    os.close(stacks)
