"""Environment variables of agents and of the trials that they start."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agent.test_slots import placement
from agent.test_workload import place
from aiperf_orch.agent.environment import (
    AgentAllocation,
    TrialEnvironment,
    accelerator_variables,
    available_accelerators,
    base_environment,
)
from aiperf_orch.agent.slots import Slot
from aiperf_orch.trial.runtime.allocation import Allocation
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import now

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("environment", "job", "host", "ends_at"),
    [
        ({}, "by hand", socket.gethostname(), None),
        ({"SLURM_JOB_ID": "7", "AIPERF_ORCH_JOB_ID": "8"}, "8", socket.gethostname(), None),
        ({"LSB_JOBID": "9"}, "9", socket.gethostname(), None),
        ({"AIPERF_ORCH_HOSTS": "n1,n2", "SLURM_PROCID": "1"}, "by hand", "n2", None),
        ({"AIPERF_ORCH_HOSTS": "n1,n2", "AIPERF_ORCH_RANK": "0"}, "by hand", "n1", None),
        ({"SLURM_JOB_END_TIME": "1000"}, "by hand", socket.gethostname(), 1000.0),
        ({"SLURM_JOB_END_TIME": "1000", "AIPERF_ORCH_ENDS_AT": "900.5"}, "by hand", socket.gethostname(), 900.5),
    ],
)
def test_an_agent_knows_its_job(environment: dict[str, str], job: str, host: str, ends_at: float | None) -> None:
    assert AgentAllocation.from_environment(environment, None) == AgentAllocation(job, host, ends_at)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AIPERF_ORCH_HOSTS": "n1", "SLURM_PROCID": "1"}, "names 1 hosts, and this is task 1"),
        ({"AIPERF_ORCH_ENDS_AT": "soon"}, "must be seconds since 1970"),
    ],
)
def test_a_wrong_variable_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        AgentAllocation.from_environment(environment, None)


@pytest.mark.parametrize(
    ("environment", "available", "chosen"),
    [
        ({"CUDA_VISIBLE_DEVICES": "4,5,6"}, ["4", "5", "6"], {"CUDA_VISIBLE_DEVICES": "5,6"}),
        (
            {"ROCR_VISIBLE_DEVICES": "4,5,6", "HIP_VISIBLE_DEVICES": "0,1,2"},
            ["4", "5", "6"],
            {"ROCR_VISIBLE_DEVICES": "5,6", "HIP_VISIBLE_DEVICES": "0,1"},
        ),
        ({"ZE_AFFINITY_MASK": "0.0,0.1,1.0"}, ["0.0", "0.1", "1.0"], {"ZE_AFFINITY_MASK": "0.1,1.0"}),
    ],
)
def test_a_slot_sees_its_accelerators_alone(
    environment: dict[str, str], available: list[str], chosen: dict[str, str]
) -> None:
    assert available_accelerators(environment) == available
    assert accelerator_variables(environment, (1, 2)) == chosen
    assert accelerator_variables(environment, None) == {}


def _allocation(slots: int = 2, *, agents: tuple[str, ...] = ("n1.1",), **settings: Any) -> Allocation:
    """The allocation of a trial that an agent starts on its second slot, as the trial reads it."""
    own = {"SLURM_PROCID": "5", "SUBMITIT_LOCAL_JOB_ID": "1", "AIPERF_ORCH_HOSTS": "x", "PATH": "/bin"}
    base = base_environment(own, "/campaign/agents/n2.1")
    environment = TrialEnvironment(base, "n2.1", "qk3f9-a00001", "123", placement(**settings), slots > 1, 1000.0)
    hosts = [agent.partition(".")[0] for agent in agents]
    order = place("qk3f9-00001-1").model_copy(update={"agents": list(agents), "hosts": hosts})
    variables = environment.of(order, Slot(1, (2, 3)), now())
    assert variables["PATH"] == "/bin"
    assert variables["OMP_NUM_THREADS"] == "2"
    assert not [name for name in variables if name.startswith(("SLURM_", "SUBMITIT_"))]
    return Allocation.from_environment(variables)


def test_a_trial_reads_its_slot_of_the_agent() -> None:
    found = _allocation(gpus=1, workers=1, warn_before=120.0, interface="ib0", agents=("n2.1",))
    assert (found.job, found.hosts, found.rank, found.run) == ("123", ("n2",), 0, 0)
    assert (found.agent, found.allocation, found.slot) == ("n2.1", "qk3f9-a00001", 1)
    assert (found.workers, found.accelerators, found.interface, found.ports) == (1, 1, "ib0", (29400, 29499))
    assert found.warn_at == 880.0
    assert found.started is not None
    assert not found.requeueable
    assert not found.exclusive


def test_a_trial_of_several_nodes_has_the_rank_of_its_agent() -> None:
    found = _allocation(slots=1, agents=("n1.3", "n2.1"), nodes=2)
    assert (found.hosts, found.rank, found.exclusive) == (("n1", "n2"), 1, True)
