"""Placements from the order to the end: states of attempts, crashes between, and agents that go in the meantime."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from aiperf_orch.records.agents import Dismiss, Stop
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.schedulers.base import JobEnd, JobState
from aiperf_orch.schedulers.placement.placements import describe_leave
from aiperf_orch.util.errors import AiperfError
from aiperf_orch.util.units import now
from schedulers.placement.fake_agents import INTERVAL, LOST_AFTER

pytestmark = pytest.mark.unit
A, B, C, D = (f"abc-0000{number}-1" for number in range(4))


def test_an_attempt_is_pending_then_running_then_ended(placed, n1):
    assert placed.submit(A) == {A: "n1.1"}
    assert placed.state(A) is JobState.PENDING
    n1.starts(A)
    assert placed.state(A) is JobState.RUNNING
    status = placed.scheduler.query([A, B])
    assert (list(status), status[A].job) == ([A], "n1.1")
    assert 0 <= status[A].running_for < 60
    n1.exits(A)
    assert placed.scheduler.query([A])[A].state is JobState.ENDED
    assert placed.state(A) == (None, ())


def test_starts_and_exits_are_announced_once(placed, n1):
    placed.submit(A, B)
    assert (placed.scheduler.take_news(), placed.scheduler.gone_jobs()) == (set(), set())
    n1.starts(A)
    placed.scheduler.board.read(["n1.1"])
    assert (placed.scheduler.take_news(), placed.scheduler.gone_jobs()) == ({A}, set())
    n1.exits(A)
    n1.returns(B)
    placed.scheduler.board.read(["n1.1"])
    assert (placed.scheduler.take_news(), placed.scheduler.gone_jobs()) == ({A, B}, {A, B})
    placed.scheduler.release_resources([A])
    placed.submit(B)  # once more
    assert (placed.scheduler.take_news(), placed.scheduler.gone_jobs()) == (set(), set())


def test_an_order_says_what_to_run_and_where(placed, n1):
    placed.submit(A, B)
    first, second = n1.orders
    assert (first.name, first.agents, first.hosts, first.generation) == (A, ["n1.1"], ["n1"], 1)
    assert (first.command, first.folder) == (["true"], str(placed.layout.jobs_folder / A))
    assert [(order.seq, order.at_once) for order in (first, second)] == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("fields", "expected", "detail"),
    [
        ({"status": 0}, None, "exit status 0"),
        ({"status": 3}, EndReason.TRIAL_ERROR, "exit status 3"),
        ({"status": None, "signal": 9}, None, "ended by signal 9"),
        ({"status": 0, "message": "the agent was terminated"}, EndReason.PREEMPTED, "agent n1.1: the agent was term"),
    ],
)
def test_the_end_of_an_attempt_is_its_exit_status(placed, n1, fields, expected, detail):
    placed.submit(A)
    n1.starts(A)
    n1.exits(A, **fields)
    assert placed.scheduler.query([A])[A].state is JobState.ENDED
    end = placed.scheduler.query_unlisted({A: "n1.1"})[A]
    assert end.reason is expected
    assert end.detail.startswith(detail)


@pytest.mark.parametrize("reason", get_args(AgentLeave.model_fields["reason"].annotation))
def test_every_leave_of_an_agent_has_words(reason):
    leave = AgentLeave(agent="n1.1", time=now(), reason=reason, message="why")
    assert re.fullmatch(r"n1\.1 [a-z ]+: why", describe_leave(leave))


@pytest.mark.parametrize(
    ("reason", "begun", "expected"),
    [
        ("time limit", True, (EndReason.TIME_LIMIT, ())),
        ("terminated", True, (EndReason.PREEMPTED, ())),
        ("failed", True, (EndReason.PREEMPTED, ())),
        ("time limit", False, "never started"),  # the order came too late for it
    ],
)
def test_an_attempt_on_an_agent_that_ended_has_its_reason(placed, n1, reason, begun, expected):
    placed.submit(A)
    if begun:
        n1.starts(A)
    n1.ends(reason)
    assert placed.state(A) == expected


def test_a_lost_agent_is_a_failed_node_and_is_ended_in_case_it_lives(placed, n1):
    placed.agent("n2.1")
    placed.scheduler.board.refresh()
    placed.submit(A, B, C, D)
    assert n1.placed == [A, C, D]
    n1.starts(A, C)
    placed.pass_time(LOST_AFTER + INTERVAL, "n2.1")
    assert [placed.state(name) for name in (A, C, D)] == [(EndReason.NODE_FAILURE, ("n1",))] * 3
    assert placed.state(B) is JobState.PENDING
    ended = n1.orders[3:]
    assert [(order.name, order.force) for order in ended if isinstance(order, Stop)] == [
        (A, True),
        (C, True),
        (D, True),
    ]
    assert isinstance(ended[-1], Dismiss)
    assert ended[-1].again  # its node is of use when it is back
    assert placed.scheduler.query_unlisted({A: "n1.1"})[A].detail.startswith(
        "its agent n1.1 was lost: no sign of life "
    )
    placed.state(A)
    assert len(n1.orders) == 3 + len(ended)


def test_a_killed_agent_loses_what_it_had_started(placed, n1):
    placed.submit(A, B, C)
    n1.starts(A)
    placed.agent("n1.2", slots=2, predecessor="n1.1")
    placed.scheduler.board.refresh()
    n1.exits(B, 0)  # a line that was late
    assert not placed.scheduler.gone_jobs()
    placed.pass_time(4, "n1.2")
    assert placed.scheduler.gone_jobs() == {A, B, C}
    assert (placed.state(A), placed.state(B)) == ((EndReason.LOST, ()), (None, ()))
    detail = placed.scheduler.query_unlisted({A: "n1.1"})[A].detail
    assert detail == "its agent n1.1 was killed: agent n1.2 took its place"
    assert placed.state(C) == "never started"
    assert placed.submit(C) == {C: "n1.2"}
    placed.scheduler.release_resources([A])
    assert placed.scheduler.gone_jobs() == {B}


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (JobEnd(EndReason.TIME_LIMIT, "TIMEOUT"), (EndReason.TIME_LIMIT, ())),
        (JobEnd(EndReason.NODE_FAILURE, "NODE_FAIL", ("n7",)), (EndReason.NODE_FAILURE, ("n7",))),
        (JobEnd(EndReason.CANCELLED, "by an administrator"), (EndReason.PREEMPTED, ())),
        (JobEnd(None), (EndReason.PREEMPTED, ())),
    ],
)
def test_the_end_of_an_allocation_ends_its_attempts(placed, end, expected):
    placed.agent("n1.1", allocation="abc-a00001")
    placed.control()
    placed.submit(A)
    placed.scheduler.board.allocation_ended("abc-a00001", end)
    assert placed.state(A) is JobState.PENDING
    placed.clock.time += 4
    assert placed.state(A) == expected


# places


def test_places_follow_exits_and_ended_trials(placed, n1):
    assert placed.scheduler.free_places() == 3
    assert list(placed.submit(A, B, C, D)) == [A, B, C]
    assert placed.scheduler.free_places() == 0
    n1.starts(A, B)
    n1.exits(A)
    placed.state(A)
    assert placed.scheduler.free_places() == 1
    placed.scheduler.release_resources([B])  # by its end line, before its exit was read
    assert placed.scheduler.free_places() == 2
    n1.exits(B)
    placed.state(B)
    assert placed.scheduler.free_places() == 2
    assert list(placed.submit(D)) == [D]
    assert n1.at_once == [1, 2, 2, 2]


def test_many_places_are_filled_in_parts(placed):
    placed.agent("n1.1", slots=300)
    placed.control(concurrency=300)
    assert placed.scheduler.free_places() == 200
    placed.submit(*(f"abc-{number:05d}-1" for number in range(200)))
    assert placed.scheduler.free_places() == 101


def test_the_concurrency_limits_all_agents_together(placed):
    for number in (1, 2):
        placed.agent(f"n{number}.1", slots=4)
    placed.control(concurrency=3)
    assert placed.scheduler.free_places() == 5
    assert len(placed.submit(*(f"abc-{number:05d}-1" for number in range(9)))) == 5
    assert sum(agent.at_once[-1] for agent in placed.agents.values()) == 3


def test_agents_that_get_no_more_count_until_they_are_gone(placed):
    placed.agent("n1.1", slots=2)
    placed.agent("n2.1", slots=2)
    placed.control(concurrency=2)
    placed.submit(A, B)
    assert (placed.agents["n1.1"].placed, placed.agents["n2.1"].placed) == ([A], [B])
    placed.scheduler.board.agents["n1.1"].dismissed = True
    assert placed.scheduler.free_places() == 1  # waits for B
    placed.agents["n1.1"].returns(A)
    placed.agents["n1.1"].ends("dismissed")
    placed.state(A)
    assert placed.scheduler.free_places() == 2


def test_attempts_that_find_no_place_wait(placed, n1):
    result = placed.scheduler.submit([placed.request(name) for name in (A, B, C, D)])
    assert (list(result.jobs), result.waiting) == ([A, B, C], {D: "no agent has a free slot for it"})
    assert n1.placed == [A, B, C]


def test_excluded_hosts_are_avoided(placed, n1):
    assert placed.scheduler.avoids_nodes is False
    assert placed.submit(A, exclude=["n1"]) == {A: "n1.1"}
    placed.agent("n2.1")
    placed.scheduler.board.refresh()
    assert placed.scheduler.avoids_nodes is True
    assert placed.submit(B, exclude=["n1"]) == {B: "n2.1"}
    assert placed.submit(C, exclude=["n1"]) == {C: "n2.1"}


# attempts that never started


def test_an_attempt_that_was_returned_is_placed_again_by_its_name(placed, n1):
    placed.submit(A)
    n1.returns(A, "its specification is another one")
    status = placed.scheduler.query([A])[A]
    assert (status.state, status.never_started, status.detail) == (
        JobState.ENDED,
        True,
        "its specification is another one",
    )
    assert placed.submit(A) == {A: "n1.1"}
    assert placed.state(A) is JobState.PENDING
    n1.starts(A)
    assert placed.state(A) is JobState.RUNNING
    assert n1.placed == [A, A]


def test_an_attempt_that_agents_keep_refusing_is_postponed(placed, n1):
    for _ in range(4):
        assert placed.submit(A) == {A: "n1.1"}
        n1.returns(A, "its specification is another one")
        assert placed.state(A) == "never started"
    result = placed.scheduler.submit([placed.request(A), placed.request(B)])
    assert result.postponed == {A: "agent n1.1: its specification is another one"}
    assert list(result.jobs) == [B]


def test_orders_that_cannot_be_written_are_not_given(placed, n1, monkeypatch):
    def no_append(*_, **__):
        raise AiperfError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr("aiperf_orch.campaign.durable_files.AppendFile.append", no_append)
        result = placed.scheduler.submit([placed.request(A)])
    assert (result.postponed, result.jobs) == ({A: "the disk is full"}, {})
    assert (placed.state(A), placed.scheduler.free_places()) == (None, 3)
    assert placed.submit(A) == {A: "n1.1"}
    assert [(order.seq, order.name) for order in n1.orders] == [(0, A)]


# cancellation


def test_cancelling_orders_the_agents_to_end_attempts(placed, n1):
    placed.submit(A, B)
    n1.starts(A)
    assert placed.scheduler.cancel({A: None, B: "n1.1", D: None}, force=False).refused == {}
    placed.scheduler.cancel({A: "n1.1"}, force=True)
    placed.scheduler.cancel({A: "n1.1"}, force=True)  # one such order is enough
    stops = [(order.name, order.force) for order in n1.orders if isinstance(order, Stop)]
    assert stops == [(A, False), (B, False), (A, True)]
    n1.returns(B, "")
    assert placed.state(B) == "never started"
    assert placed.scheduler.cancel({B: "n1.1"}, force=False).never_started == [B]


def test_without_the_lock_no_order_is_written(placed):
    agent = placed.agent("n1.1")
    placed.control(hold=False)
    with pytest.raises(AssertionError):
        placed.submit(A)
    assert agent.orders == []
