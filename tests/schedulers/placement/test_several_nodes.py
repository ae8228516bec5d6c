"""Trials of several nodes: their agents, and what happens to them when one of these is gone."""

from __future__ import annotations

import pytest

from aiperf_orch.campaign.agent_files import OrderWriter
from aiperf_orch.records.agents import Place, Stop
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobState
from schedulers.placement.fake_agents import INTERVAL, LOST_AFTER

pytestmark = pytest.mark.unit
A, B, C, D = (f"abc-0000{number}-1" for number in range(4))


@pytest.fixture
def four(placed):
    """Four agents of one allocation, for trials of two nodes."""
    agents = [placed.agent(f"n{number}.1", slots=4) for number in (10, 2, 1, 3)]
    placed.control(nodes=2)
    return {agent.host: agent for agent in agents}


def test_a_trial_of_several_nodes_gets_whole_nodes(placed, four):
    assert placed.scheduler.free_places() == 4
    jobs = placed.submit(A, B, C, D)
    assert jobs == {A: "n1.1,n2.1", B: "n3.1,n10.1", C: "n1.1,n2.1", D: "n3.1,n10.1"}
    assert [agent.placed for agent in four.values()] == [[B, D], [A, C], [A, C], [B, D]]
    assert four["n2"].orders[0].hosts == ["n1", "n2"]
    assert {limit for agent in four.values() for limit in agent.at_once} == {1}
    four["n1"].starts(A)
    assert placed.state(A) is JobState.PENDING
    four["n2"].starts(A)
    assert placed.state(A) is JobState.RUNNING
    four["n1"].exits(A)
    assert placed.state(A) is JobState.RUNNING
    four["n2"].exits(A, 1)
    assert placed.state(A) == (EndReason.TRIAL_ERROR, ())


def test_agents_of_different_allocations_make_no_team(placed):
    placed.agent("n1.1", job="77")
    placed.agent("n2.1", job="78")
    assert placed.control(nodes=2).free_places() == 0


def test_the_concurrency_counts_trials_and_not_nodes(placed, four):
    placed.control(nodes=2, concurrency=1)
    assert placed.submit(A, B, C) == {A: "n1.1,n2.1", B: "n1.1,n2.1"}


def test_the_other_nodes_of_a_lost_one_are_freed(placed, four):
    placed.submit(A)
    four["n1"].starts(A)
    four["n2"].starts(A)
    placed.pass_time(LOST_AFTER + INTERVAL, "n1.1", "n3.1", "n10.1")
    assert placed.state(A) == (EndReason.NODE_FAILURE, ("n2",))
    assert [order.force for order in four["n1"].orders if isinstance(order, Stop)] == [True]
    four["n1"].exits(A, None, signal=9)
    assert placed.state(A) == (EndReason.NODE_FAILURE, ("n2",))
    placed.scheduler.release_resources([A])
    assert placed.submit(B, C) == {B: "n1.1,n3.1", C: "n1.1,n3.1"}


def test_an_order_that_only_one_of_two_agents_got_is_taken_back(placed, four):
    fields = {
        "name": A,
        "command": ["true"],
        "folder": "/",
        "agents": ["n1.1", "n2.1"],
        "hosts": ["n1", "n2"],
        "at_once": 1,
    }
    OrderWriter(placed.layout, "n1.1", lambda: 1).append(Place, **fields)
    placed.control(nodes=2)
    assert placed.state(A) is JobState.PENDING
    assert isinstance(four["n1"].orders[-1], Stop)
    four["n1"].returns(A, "stopped before it started")
    assert placed.state(A) == "never started"
    assert placed.submit(A)


def test_a_trial_whose_second_task_started_before_the_first_agent_ended_was_preempted(placed, four):
    placed.submit(A)
    four["n2"].starts(A)
    four["n2"].exits(A)
    four["n1"].returns(A, "the agent was terminated by SIGTERM", agent_ends=True)
    assert placed.state(A) == (EndReason.PREEMPTED, ())


def test_a_trial_that_one_of_its_agents_cannot_start_was_not_preempted(placed, four):
    placed.submit(A)
    four["n2"].starts(A)
    four["n2"].exits(A)
    four["n1"].returns(A, "cannot be forked: Cannot allocate memory")
    assert placed.state(A) == (None, ())
