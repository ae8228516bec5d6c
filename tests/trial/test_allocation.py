"""Allocation of a trial, as read from the variables of the batch script."""

from __future__ import annotations

import socket

import pytest

from aiperf_orch.trial.runtime.allocation import Allocation


@pytest.mark.parametrize(
    ("variables", "workers"),
    [
        ({"AIPERF_ORCH_WORKERS": "4", "CUDA_VISIBLE_DEVICES": "0,1"}, 4),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1a,MIG-2b,GPU-3c"}, 3),
        ({"CUDA_VISIBLE_DEVICES": ""}, 1),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 1),
    ],
)
def test_a_node_has_the_configured_workers_or_one_per_gpu(variables: dict[str, str], workers: int) -> None:
    assert Allocation.from_environment(variables).workers == workers


def test_a_node_is_exclusive_unless_the_script_says_otherwise() -> None:
    assert Allocation.from_environment({}).exclusive
    assert not Allocation.from_environment({"AIPERF_ORCH_SHARED": "1"}).exclusive


def test_without_variables_the_trial_runs_on_this_machine() -> None:
    allocation = Allocation.from_environment({})
    assert (allocation.hosts, allocation.rank, allocation.run) == ((socket.gethostname(),), 0, 0)
    assert not allocation.requeueable
    assert allocation.warn_at is None


def test_all_variables_of_a_batch_script_are_read() -> None:
    allocation = Allocation.from_environment(
        {
            "AIPERF_ORCH_JOB_ID": "17",
            "AIPERF_ORCH_HOSTS": "n1,n2",
            "AIPERF_ORCH_RANK": "1",
            "AIPERF_ORCH_RUN": "2",
            "AIPERF_ORCH_REQUEUE": "1",
            "AIPERF_ORCH_WARN_AT": "1700000000",
            "AIPERF_ORCH_SHARED": "1",
            "AIPERF_ORCH_ACCELERATORS": "4",
            "AIPERF_ORCH_WORKERS": "8",
            "AIPERF_ORCH_INTERFACE": "ib0",
            "AIPERF_ORCH_PORTS": "30000-30009",
        }
    )
    assert allocation == Allocation(
        job="17",
        hosts=("n1", "n2"),
        rank=1,
        run=2,
        requeueable=True,
        warn_at=1700000000.0,
        workers=8,
        accelerators=4,
        interface="ib0",
        ports=(30000, 30009),
        exclusive=False,
    )
    assert allocation.host == "n2"
