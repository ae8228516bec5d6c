"""What the board concludes from agents' files: who may get attempts, who is gone, and how many files that takes."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from aiperf_orch.campaign.agent_files import OrderWriter
from aiperf_orch.records.agents import Dismiss
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.schedulers.placement import board as board_module
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.units import now
from schedulers.placement.fake_agents import INTERVAL, LOST_AFTER

pytestmark = pytest.mark.unit


def usable(placed):
    board = placed.scheduler.board
    return [name for name, agent in board.agents.items() if board.is_usable(agent)]


def gone(placed, name):
    leave = placed.scheduler.board.agents[name].gone
    return leave and leave.reason


def test_an_agent_may_get_attempts_when_it_has_begun(placed):
    placed.control()
    assert placed.scheduler.free_places() == 0
    fresh = placed.agent("n1.1", begins=False)
    placed.scheduler.board.refresh()
    assert usable(placed) == []
    fresh.begin(slots=4)
    placed.scheduler.board.refresh()
    assert usable(placed) == ["n1.1"]
    assert placed.scheduler.free_places() == 5


def test_a_silent_agent_gets_none_and_is_lost_later(placed):
    placed.agent("n1.1")
    placed.agent("n2.1")
    placed.control()
    placed.pass_time(3 * INTERVAL, "n2.1")
    assert (usable(placed), gone(placed, "n1.1")) == (["n1.1", "n2.1"], None)
    placed.clock.time += 1
    placed.scheduler.board.read(["n1.1"])
    assert (usable(placed), gone(placed, "n1.1")) == (["n2.1"], None)
    placed.pass_time(LOST_AFTER, "n2.1")
    assert (usable(placed), gone(placed, "n1.1")) == (["n2.1"], "lost")
    assert placed.scheduler.board.agents["n1.1"].silent_for >= LOST_AFTER


def test_lines_of_the_log_are_signs_of_life_too(placed):
    agent = placed.agent("n1.1")
    placed.control()
    for number in range(8):
        placed.clock.time += INTERVAL
        agent.starts(f"abc-0000{number}-1")
        placed.scheduler.board.refresh()
    assert usable(placed) == ["n1.1"]


@pytest.mark.parametrize("replace", [os.mkfifo, lambda _: None], ids=["it cannot be read", "it is absent for a while"])
def test_time_in_which_nothing_can_be_read_is_not_silence(placed, replace):
    agent = placed.agent("n1.1")
    placed.control()
    heartbeat = placed.layout.agent_heartbeat("n1.1")
    heartbeat.rename(heartbeat.with_name("away"))
    replace(heartbeat)
    placed.pass_time(10 * LOST_AFTER)
    assert gone(placed, "n1.1") is None
    heartbeat.unlink(missing_ok=True)
    heartbeat.with_name("away").rename(heartbeat)
    agent.beat()
    placed.pass_time(INTERVAL)
    assert usable(placed) == ["n1.1"]


def test_time_without_reads_is_not_silence(placed):
    placed.agent("n1.1")
    placed.control()
    placed.pass_time(2 * INTERVAL)
    placed.clock.time += 10 * LOST_AFTER  # a file system that hangs, or a controller that is suspended
    placed.scheduler.board.refresh()
    assert gone(placed, "n1.1") is None
    assert placed.scheduler.board.agents["n1.1"].silent_for == 2 * INTERVAL
    placed.pass_time(LOST_AFTER - 2 * INTERVAL)
    assert gone(placed, "n1.1") == "lost"


def test_an_old_agent_must_show_that_it_is_alive_to_a_new_controller(placed):
    old = {"begins": False}
    dead, alive = placed.agent("n1.1", **old), placed.agent("n2.1", **old)
    for agent in (dead, alive):
        agent.begin(time=now() - timedelta(hours=1))
        heartbeat = placed.layout.agent_heartbeat(agent.name)
        heartbeat.write_text(heartbeat.read_text().replace(f'"time":"{now():%Y}', '"time":"2020'))
    placed.control()
    assert usable(placed) == []
    placed.pass_time(INTERVAL, "n2.1")
    assert usable(placed) == ["n2.1"]
    placed.pass_time(LOST_AFTER, "n2.1")
    assert (usable(placed), gone(placed, "n1.1")) == (["n2.1"], "lost")


@pytest.mark.parametrize(("ends_in", "expected"), [(None, 2), (300, 2), (200, 0)])
def test_no_attempt_is_placed_shortly_before_the_end_of_an_allocation(placed, ends_in, expected):
    placed.agent("n1.1", ends_in=ends_in)
    assert placed.control(warn_before=120.0).free_places() == expected


def test_an_agent_that_ended_or_was_dismissed_gets_none(placed):
    for number in range(1, 4):
        placed.agent(f"n{number}.1")
    placed.agents["n1.1"].ends("time limit", "3 s left")
    OrderWriter(placed.layout, "n2.1", lambda: 1).append(Dismiss, reason="over")
    placed.control()
    assert (usable(placed), gone(placed, "n1.1"), gone(placed, "n2.1")) == (["n3.1"], "time limit", None)
    placed.scheduler.dismiss("the campaign is over")
    assert usable(placed) == []
    placed.scheduler.dismiss("the campaign is over")
    reasons = [[order.reason for order in placed.agents[f"n{n}.1"].orders] for n in (1, 2, 3)]
    assert reasons == [[], ["over"], ["the campaign is over"]]


def test_a_successor_says_that_its_predecessor_was_killed(placed):
    placed.agent("n1.1")
    placed.control()
    placed.agent("n1.2", predecessor="n1.1")
    placed.scheduler.board.refresh()
    assert (usable(placed), gone(placed, "n1.1")) == (["n1.2"], None)  # its last lines may be late
    placed.pass_time(4, "n1.2")
    assert (usable(placed), gone(placed, "n1.1")) == (["n1.2"], "killed")


def test_agents_end_with_their_allocation_even_those_that_show_up_late(placed):
    for name, allocation in (("n1.1", "abc-a00001"), ("n2.1", "abc-a00002"), ("n3.1", None)):
        placed.agent(name, allocation=allocation)
    placed.control()
    placed.scheduler.board.allocation_ended("abc-a00001", JobEnd(EndReason.TIME_LIMIT, "TIMEOUT"))
    assert usable(placed) == ["n2.1", "n3.1"]
    late = placed.agent("n4.1", allocation="abc-a00001")
    placed.scheduler.board.refresh()
    late.ends("terminated")
    placed.pass_time(4, "n2.1", "n3.1")
    assert [gone(placed, f"n{n}.1") for n in range(1, 5)] == ["lost", None, None, "terminated"]
    assert "its allocation has ended: TIMEOUT" in placed.scheduler.board.agents["n1.1"].gone.message


def test_a_damaged_log_keeps_an_agent_from_getting_attempts(placed):
    placed.agent("n1.1")
    placed.control()
    with placed.layout.agent_log("n1.1").open("a") as log:
        log.write("no record\n")
    placed.pass_time(INTERVAL, "n1.1")
    agent = placed.scheduler.board.agents["n1.1"]
    assert (usable(placed), agent.gone) == ([], None)
    assert "agent.jsonl:2" in agent.damage


def test_files_are_opened_at_most_once_an_interval(placed):
    for number in range(1, 21):
        placed.agent(f"n{number}.1")
    board = placed.control().board
    assert board.opened == 1 + 20 + 2 * 20  # the folder, orders, logs and heartbeats
    for _ in range(50):
        board.refresh()
    assert board.opened == 61 + 50
    placed.pass_time(INTERVAL, *placed.agents)
    assert board.opened == 61 + 51 + 2 * 20
    board.read(["n1.1", "n2.1"])
    assert board.opened == 61 + 51 + 2 * 20 + 4


def read_in(placed, seconds):
    """Number of files that are opened in this time, with a sign of life and a refresh each second."""
    board, before = placed.scheduler.board, placed.scheduler.board.opened
    for _ in range(seconds):
        placed.pass_time(1, *placed.agents)
    return board.opened - before - seconds  # without the listings of the folder


def test_many_agents_are_read_at_a_bounded_rate(placed, monkeypatch):
    monkeypatch.setattr(board_module, "_READS_A_SECOND", 2)
    for number in range(1, 21):
        placed.agent(f"n{number}.1")
    placed.control()
    read_in(placed, 20)
    assert 2 * 60 <= read_in(placed, 60) <= 2 * 2 * 60 / 0.8
    assert len(usable(placed)) == 20
    placed.pass_time(LOST_AFTER, *list(placed.agents)[1:])  # the others are alive
    placed.pass_time(LOST_AFTER, *list(placed.agents)[1:])
    assert [gone(placed, name) for name in ("n1.1", "n2.1")] == ["lost", None]


def test_an_agent_that_is_read_seldom_is_lost_all_the_same(placed, monkeypatch):
    monkeypatch.setattr(board_module, "_READS_A_SECOND", 0.5)
    for number in range(1, 21):
        placed.agent(f"n{number}.1")
    placed.control(lost_after=160.0)
    placed.pass_time(300, *list(placed.agents)[1:])
    assert [gone(placed, name) for name in ("n1.1", "n2.1")] == ["lost", None]


def test_an_agent_that_may_have_a_free_slot_is_read_more_often(placed, monkeypatch):
    monkeypatch.setattr(board_module, "_READS_A_SECOND", 1)
    agents = [placed.agent(f"n{number}.1", slots=2) for number in range(1, 13)]
    placed.control(concurrency=24, lookahead=1)
    read_in(placed, 12)
    quiet = read_in(placed, 60)
    placed.submit(*(f"abc-{number:05d}-1" for number in range(24)))  # which start on all of them soon
    assert read_in(placed, 60) > 2 * quiet
    for agent in agents:
        agent.starts(*agent.placed)
    read_in(placed, 12)
    assert read_in(placed, 60) > 2 * quiet  # nothing would follow the next exit
    placed.submit(*(f"abc-{number:05d}-1" for number in range(24, 36)))
    read_in(placed, 12)
    assert read_in(placed, 60) < 1.5 * quiet


def test_a_heartbeat_is_not_read_where_the_log_has_grown(placed, n1):
    board = placed.scheduler.board
    placed.submit("abc-00000-1")
    before = board.opened
    n1.starts("abc-00000-1")
    board.read(["n1.1"])
    board.read(["n1.1"])
    assert board.opened - before == 1 + 2
    assert read_in(placed, 60) <= 60 + 60 / INTERVAL  # the log each time, the heartbeat once an interval


def test_agents_that_are_gone_are_not_read_again(placed):
    placed.agent("n1.1").ends()
    board = placed.control().board
    before = board.opened
    placed.pass_time(10 * INTERVAL)
    assert board.opened == before + 10


def test_nothing_is_concluded_while_orders_of_earlier_controllers_cannot_be_read(placed, monkeypatch):
    placed.agent("n1.1")
    placed.control()
    placed.submit("abc-00000-1")
    with monkeypatch.context() as broken:

        def no_read(*_, **__):
            raise OSError(5, "Input/output error")

        broken.setattr("aiperf_orch.campaign.durable_files.read_regular", no_read)
        placed.control()
        with pytest.raises(SchedulerUnreachableError, match="1 agent"):
            placed.scheduler.query(["abc-00000-1"])
        assert placed.submit("abc-00000-1") == {}
    assert placed.scheduler.query(["abc-00000-1"]).keys() == {"abc-00000-1"}
