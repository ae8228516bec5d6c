"""Tests of node-hours: given, at work, and idle by cause, with numbers that were computed by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from aiperf_orch.records.journal import Finished, Stopped
from aiperf_orch.results.report import render_report
from aiperf_orch.results.result import compute_result
from aiperf_orch.results.tables import leaderboard_rows, result_row
from placed_campaign import PlacedCampaignBuilder

AGENTS = {"scheduler__kind": "agents", "campaign__concurrency": 100}
Make = Callable[..., PlacedCampaignBuilder]


def _seconds(builder: PlacedCampaignBuilder) -> dict[str, float]:
    """Seconds of a node that were given, at work, and idle by cause; those that are 0 are left out."""
    hours = compute_result(builder.directory).node_hours
    assert hours is not None
    assert hours.idle == pytest.approx(hours.given - hours.at_work, abs=1e-9)
    named = {"given": hours.given, "at_work": hours.at_work, **asdict(hours.causes)}
    return {name: round(3600 * value, 6) for name, value in named.items() if value}


@pytest.fixture
def make(campaign: Callable[..., Any]) -> Make:
    def build(**changes: Any) -> PlacedCampaignBuilder:
        return campaign(kind=PlacedCampaignBuilder, **AGENTS | changes)

    return build


def test_a_job_a_trial_has_no_node_hours(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(2, 0.5)])
    result = compute_result(made.directory)
    assert result.node_hours is None
    row = result_row(result)
    assert [row[f"node_hours_{name}"] for name in ("given", "at_work", "idle")] == [None, None, None]
    assert [leaderboard_rows(result)[0][name] for name in ("allocation", "agent", "slot")] == [None, None, None]


def test_without_agents_nothing_was_given(make: Make) -> None:
    assert _seconds(make()) == {}


def test_every_second_of_a_node_has_one_use(make: Make) -> None:
    """One node with two slots, of which only one ever has a trial: from 0 s to 10 s, and from 12 s to 20 s."""
    made = make()
    made.join("n1.1", -6)
    made.run_on("n1.1", 0, 4, 10, at=0, start_up=2)
    made.run_on("n1.1", 1, 20, at=12, start_up=1.5)
    made.leave("n1.1", 24)
    made.write(Finished, reason="done", by_deadline=False)
    assert _seconds(made) == {
        "given": 30,  # from -6 s to 24 s
        "at_work": 9,  # half of 10 s + 8 s
        "start_up": 1.75,  # half of 2 s + 1.5 s
        "first_trial": 5,  # one slot from -6 s to -2 s, the other until 0 s
        "no_trial": 10.25,  # one slot for 0.5 s, the other for 20 s
        "after_end": 4,
    }


def test_slots_beyond_the_concurrency_are_idle_for_that_reason(make: Make) -> None:
    made = make(campaign__concurrency=2)
    made.join("n1.1", 0, slots=4)
    made.join("n2.1", 0, slots=4)
    made.run_on("n1.1", 0, 10, at=0, start_up=0)
    made.leave("n1.1", 10)
    made.leave("n2.1", 10)
    assert _seconds(made) == {
        "given": 20,
        "at_work": 2.5,
        "beyond_concurrency": 15,  # six of eight slots
        "no_trial": 2.5,
    }


def test_after_the_deadline_nodes_are_idle_for_that_reason(make: Make) -> None:
    made = make()
    made.join("n1.1", 0, slots=1)
    made.run_on("n1.1", 0, 3590, at=0, start_up=0, reason="CAMPAIGN_ENDED")
    made.leave("n1.1", 3620)
    assert _seconds(made) == {"given": 3620, "at_work": 3590, "no_trial": 10, "after_end": 20}


def test_a_campaign_that_runs_has_no_end_before_its_deadline(make: Make) -> None:
    made = make()
    made.join("n1.1", 0, slots=1)
    made.run_on("n1.1", 0, 10, at=0, start_up=0)
    made.leave("n1.1", 15)
    assert _seconds(made) == {"given": 15, "at_work": 10, "no_trial": 5}
    made.write(Stopped)
    assert _seconds(made) == {"given": 15, "at_work": 10, "after_end": 5}


def test_nodes_count_once_and_slots_share_them(make: Make) -> None:
    """Two agents of two allocations share a node from 10 s to 20 s: there one trial is a third of the node."""
    made = make()
    made.join("n1.1", 0, allocation=made.allocate(1), slots=1)
    made.join("n1.2", 10, allocation=made.allocate(2), slots=2)
    made.run_on("n1.1", 0, 20, at=0, start_up=0)
    made.leave("n1.1", 20)
    made.leave("n1.2", 30)
    assert _seconds(made) == {"given": 30, "at_work": 13.333333, "no_trial": 16.666667}


def test_a_trial_on_several_nodes_takes_all_slots_of_them(make: Make) -> None:
    made = make(scheduler__nodes=2)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.join(agent, 0, slots=2)
    made.run_on("n1.1,n3.1", 0, 10, at=1, start_up=1)
    for agent in ("n1.1", "n2.1", "n3.1"):
        made.leave(agent, 10)
    assert _seconds(made) == {"given": 30, "at_work": 18, "start_up": 2, "first_trial": 1, "no_trial": 9}


def test_an_agent_that_has_not_left_counts_until_the_last_known_time(make: Make) -> None:
    made = make()
    made.join("n1.1", 0, slots=1)
    made.run_on("n1.1", 0, 10, at=0, start_up=0)  # its end is in the journal at 11 s
    made.join("n2.1", 0, slots=1, ends_at=made.at(4))
    assert _seconds(made) == {"given": 15, "at_work": 10, "no_trial": 5}


def test_a_lost_agent_counts_until_that_is_recorded(make: Make) -> None:
    made = make(scheduler__lost_after="60s")
    made.join("n1.1", 0, slots=2)
    made.place(0, on="n1.1")
    made.began(0)
    made.events(made.placed_begin(0, on="n1.1", start_up=0), made.epoch(1, 10))
    made.leave("n1.1", 20, "lost", recorded=80)
    made.events(made.end(85, run=1, reason="NODE_FAILURE"), run=1)
    made.ended(0, runs=2, reason="NODE_FAILURE", at=86)
    assert _seconds(made) == {
        "given": 80,
        "at_work": 5,
        "lost": 65,  # half of 10 s to 20 s, then 60 s
        "no_trial": 10,
    }
    assert made.directory.settings.scheduler.lost_after == 60


def test_work_of_trials_is_a_sign_of_life_of_their_agent(make: Make) -> None:
    """A killed agent gave its last sign at 4 s; one of its trials ended at 10 s, and the other epoch at 12 s."""
    made = make()
    made.join("n1.1", 0, slots=2)
    for trial in (0, 1):
        made.place(trial, on="n1.1", at=0)
    made.run_on("n1.1", 0, 10, at=0, start_up=0)
    made.began(0, 1)
    made.events(made.placed_begin(0, 1, on="n1.1", start_up=0, slot=1), made.epoch(1, 12, trial=1), trial=1)
    made.leave("n1.1", 4, "killed", recorded=20)
    made.events(made.end(30, 1, run=1, reason="LOST"), trial=1, run=1)
    made.ended(1, runs=2, reason="LOST", at=31)
    assert _seconds(made) == {"given": 20, "at_work": 11, "no_trial": 1, "lost": 8}


@pytest.mark.parametrize(("recorded", "lost"), [(50, 30), (500, 60)])
def test_a_lost_agent_counts_for_no_longer_than_it_takes_to_notice(make: Make, recorded: float, lost: float) -> None:
    made = make(scheduler__lost_after="60s")
    made.join("n1.1", 0, slots=1)
    made.leave("n1.1", 20, "lost", recorded=recorded)
    assert _seconds(made) == {"given": 20 + lost, "first_trial": 20, "lost": lost}


def test_the_successor_of_a_killed_agent_ends_its_count(make: Make) -> None:
    made = make()
    name = made.allocate()
    made.join("n1.1", 0, slots=1, allocation=name)
    made.join("n1.2", 25, slots=1, allocation=name)
    made.leave("n1.1", 20, "killed", recorded=40)
    made.leave("n1.2", 60)
    assert _seconds(made) == {"given": 60, "first_trial": 55, "lost": 5}


def test_an_agent_that_returns_was_lost_meanwhile(make: Make) -> None:
    made = make()
    made.join("n1.1", 0, slots=1)
    made.leave("n1.1", 20, "lost", recorded=200)
    made.rejoin("n1.1", 500)
    made.leave("n1.1", 600)
    assert _seconds(made) == {"given": 600, "first_trial": 120, "lost": 480}


def test_a_slot_whose_trial_was_killed_is_lost_until_its_end_is_recorded(make: Make) -> None:
    """The trial dies at 10 s; the next one starts on its slot at 14 s, before the first one is reclaimed at 20 s."""
    made = make()
    made.join("n1.1", 0, slots=1)
    made.place(0, on="n1.1")
    made.began(0)
    made.events(made.placed_begin(0, on="n1.1", start_up=0), made.epoch(1, 10))
    made.run_on("n1.1", 1, 19, at=15, start_up=1)
    made.events(made.end(20, run=1, reason="LOST"), run=1)
    made.ended(0, runs=2, reason="LOST", at=21)
    made.leave("n1.1", 22)
    assert _seconds(made) == {"given": 22, "at_work": 14, "lost": 4, "start_up": 1, "no_trial": 3}


def test_tables_state_node_hours_and_placements(make: Make) -> None:
    made = make()
    name = made.allocate()
    made.join("n1.1", 0, slots=1, allocation=name)
    made.run_on("n1.1", 0, 1800, at=0, start_up=0)
    made.leave("n1.1", 3600)
    result = compute_result(made.directory)
    row = result_row(result)
    assert [row[f"node_hours_{key}"] for key in ("given", "at_work", "idle")] == [1.0, 0.5, 0.5]
    placed = leaderboard_rows(result)[0]
    assert [placed[key] for key in ("allocation", "agent", "slot")] == [name, "n1.1", 0]


def test_the_report_lists_the_causes_of_idle_time(make: Make) -> None:
    made = make()
    made.join("n1.1", 0, slots=1)
    made.run_on("n1.1", 0, 2700, at=0, start_up=0)
    made.leave("n1.1", 3600)
    page = render_report(compute_result(made.directory))
    cells = re.findall(r"<td>([^<]*)</td><td class=.number.>([\d.]+)</td>\s<td class=.number.>([\d.]+ %)</td>", page)
    assert [cell for cell in cells if cell[1] != "0.000"] == [
        ("Given", "1.000", "100.0 %"),
        ("At work", "0.750", "75.0 %"),
        ("Idle: no trial placed", "0.250", "25.0 %"),
    ]
    assert len(cells) == 8


def test_the_report_of_a_job_a_trial_has_no_node_hours(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.trial(0, [(2, 0.5)])
    assert "Node-hours" not in render_report(compute_result(made.directory))
