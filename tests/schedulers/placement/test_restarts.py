"""Placements that another controller finds: by their names, in the agents' orders."""

from __future__ import annotations

import pytest

from aiperf_orch.campaign.agent_files import OrderWriter
from aiperf_orch.records.agents import Place, Stop
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobState
from aiperf_orch.util.units import now
from schedulers.placement.fake_agents import INTERVAL

pytestmark = pytest.mark.unit
A, B, C, D = (f"abc-0000{number}-1" for number in range(4))


def test_another_controller_finds_placements_and_their_states(placed, n1):
    placed.submit(A, B, C)
    n1.starts(A, B)
    n1.exits(B, 2)
    placed.control()
    assert (placed.state(A), placed.state(C)) == (JobState.RUNNING, JobState.PENDING)
    assert placed.state(B) == (EndReason.TRIAL_ERROR, ())
    assert placed.submit(A, C) == {A: "n1.1", C: "n1.1"}  # they are placed already
    assert [(order.name, order.generation, order.renews) for order in n1.orders[3:]] == [(C, 2, True)]
    assert placed.scheduler.free_places() == 1
    placed.submit(D)
    assert [(order.seq, order.generation) for order in n1.orders][-1] == (4, 2)


def test_what_waits_is_confirmed_once_by_each_controller(placed, n1):
    placed.submit(A, B, C)
    n1.starts(A, B)
    for generation in (2, 3):
        placed.control()
        for _ in range(2):
            assert [placed.state(name) for name in (A, B, C)] == [JobState.RUNNING, JobState.RUNNING, JobState.PENDING]
        assert [(order.name, order.generation) for order in n1.orders if order.renews][-1] == (C, generation)
    assert [order.renews for order in n1.orders] == [False] * 3 + [True] * 2
    n1.returns(C)
    assert placed.state(C) == "never started"
    placed.submit(C)
    assert placed.state(C) is JobState.PENDING
    placed.control()
    assert placed.state(C) is JobState.PENDING
    n1.starts(C)
    assert placed.state(C) is JobState.RUNNING


def test_a_torn_last_order_was_not_given(placed, n1):
    placed.submit(A)
    with placed.layout.agent_orders("n1.1").open("a") as orders:
        orders.write('{"seq":1,"type":"place","na')
    placed.control()
    assert placed.state(B) is None
    placed.submit(B)
    assert n1.placed == [A, B]


def test_orders_of_an_older_generation_after_newer_ones_do_not_count(placed, n1):
    placed.submit(A)
    old = placed.scheduler
    placed.control()
    placed.submit(B)
    old.board._clock = placed.clock
    old.submit([placed.request(C)])  # a controller that has lost the campaign
    placed.control()
    assert [placed.state(name) for name in (A, B, C)] == [JobState.PENDING, JobState.PENDING, None]


@pytest.mark.parametrize("first", [1, 2])
def test_of_two_placements_the_one_that_started_counts(placed, first):
    agents = [placed.agent("n1.1"), placed.agent("n2.1")]
    placed.control()
    for agent in agents:  # as if two controllers had placed it, of which the first was killed
        order = {
            "name": A,
            "command": ["true"],
            "folder": "/",
            "agents": [agent.name],
            "hosts": [agent.host],
            "at_once": 1,
        }
        OrderWriter(placed.layout, agent.name, lambda: 1).append(Place, **order)
    placed.control()
    assert placed.scheduler.query([A])[A].state is JobState.PENDING
    agents[first - 1].starts(A)
    status = placed.scheduler.query([A])[A]
    assert (status.state, status.job) == (JobState.RUNNING, f"n{first}.1")
    placed.scheduler.cancel({A: None}, force=True)
    assert all(isinstance(agent.orders[-1], Stop) for agent in agents)


def test_what_is_over_is_forgotten(placed, n1):
    for number in range(50):
        name = f"abc-{number:05d}-1"
        placed.submit(name)
        n1.starts(name)
        n1.exits(name)
        placed.scheduler.query([name])
        placed.scheduler.release_resources([name])
    board = placed.scheduler.board
    assert (board._by_name, board.agents["n1.1"].placements) == ({}, [])


def test_agents_that_left_by_the_journal_are_read_once_and_get_nothing(placed, n1):
    placed.submit(A, B)
    n1.starts(A, B)
    n1.exits(A, 3)
    placed.control(refresh=False)
    board = placed.scheduler.board
    board.left_before([AgentLeave(agent="n1.1", time=now(), reason="lost")])
    board.refresh()
    assert placed.state(A) == (EndReason.TRIAL_ERROR, ())
    assert placed.state(B) == (EndReason.NODE_FAILURE, ("n1",))
    assert placed.scheduler.free_places() == 0
    opened = board.opened
    placed.pass_time(INTERVAL, "n1.1")
    assert board.opened == opened + 1
