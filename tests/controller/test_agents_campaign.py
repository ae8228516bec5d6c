"""Campaigns on agents that were started by hand: real agents and simulated trials, disturbed on the way."""

from collections import Counter

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.records.agents import Exited
from aiperf_orch.results.result import compute_result
from controller.following import once, run_until
from controller.test_killed_controller import run_and_die

pytestmark = pytest.mark.local


def most_at_work(campaign):
    """The largest number of trials that were at work at once, by their events."""
    changes = []
    for events in campaign.events().values():
        changes += [(events[0]["time"], 1), (events[-1]["time"], -1)]
    numbers, most = 0, 0
    for _, change in sorted(changes):
        numbers += change
        most = max(most, numbers)
    return most


def check_nothing_lost_and_nothing_twice(campaign, trials):
    """Every epoch on disk counts once, and all trials have ended."""
    on_disk = [event for events in campaign.events().values() for event in events]
    finished = {(event["trial"], event["epoch"]) for event in on_disk if event["type"] == "epoch"}
    result = compute_result(campaign.directory)
    counted = Counter((epoch.trial, epoch.epoch) for epoch in result.collected.epochs)
    assert set(counted) == finished
    assert set(counted.values()) == {1}
    assert result.faults == []
    ended = {number: trial.end.epochs for number, trial in result.state.trials.items() if trial.end}
    assert ended == {trial: len([key for key in finished if key[0] == trial]) for trial in range(trials)}


def test_agents_run_a_campaign_and_never_more_than_its_concurrency(make_agents_campaign):
    campaign = make_agents_campaign()
    agents = [campaign.start_agent(), campaign.start_agent()]
    phase, state = campaign.run(seconds=60)
    assert (phase, [end.reason.value for end in state.ends]) == (Phase.FINISHED, ["COMPLETED"] * 8)
    assert most_at_work(campaign) <= 3
    assert [agent.ended().reason for agent in agents] == ["dismissed"] * 2
    assert campaign.warnings == []
    check_nothing_lost_and_nothing_twice(campaign, 8)


def test_trials_wait_until_an_agent_joins(make_agents_campaign):
    campaign = make_agents_campaign(campaign__max_trials=2)
    campaign.run(until=lambda controller: controller.scheduler.board.is_loaded)
    assert [entry["type"] for entry in campaign.journal()] == ["created", "opened"]
    campaign.start_agent()
    assert campaign.run(seconds=60)[0] is Phase.FINISHED


def test_the_first_trial_runs_alone_until_it_has_begun(make_agents_campaign):
    campaign = make_agents_campaign(training__simulated_epoch_seconds=0.5)
    campaign.start_agent(slots=4)
    run_until(campaign, lambda controller: len(controller.state.begins) >= 3)
    submissions = [entry for entry in campaign.journal() if entry["type"] == "submitting"]
    assert [len(entry["attempts"]) for entry in submissions][:2] == [1, 3]
    first_end = next((entry for entry in campaign.journal() if entry["type"] == "ended"), None)
    assert first_end is None  # that the first trial has begun is enough


def test_what_waits_on_an_agent_starts_under_the_next_controller(make_agents_campaign):
    campaign = make_agents_campaign(
        campaign__concurrency=1, campaign__max_trials=3, training__simulated_epoch_seconds=0.6
    )
    agent = campaign.start_agent(slots=1)
    run_until(campaign, lambda controller: len(controller.state.live) == 2)
    phase, _ = campaign.run(seconds=60)
    assert phase is Phase.FINISHED
    assert agent.ended().reason == "dismissed"
    exits = [line for line in agent.lines if isinstance(line, Exited)]
    assert [(line.started, line.status) for line in exits] == [(True, 0)] * 3


def test_a_killed_agent_costs_its_own_attempts_alone(make_agents_campaign):
    campaign = make_agents_campaign(training__simulated_epoch_seconds=0.3)
    first, second = campaign.start_agent(), campaign.start_agent()
    killed = once(lambda controller: len(controller.state.begins) >= 3, lambda controller: first.kill())
    successor = once(lambda controller: killed.done, lambda controller: campaign.start_agent())
    phase, state = run_until(campaign, lambda controller: False, killed, successor)
    assert phase is Phase.FINISHED
    reasons = Counter(end.reason.value for end in state.ends)
    assert reasons["COMPLETED"] == 8
    assert reasons.keys() == {"COMPLETED", "LOST"}
    jobs = {
        (record["trial"], record["attempt"]): record["job"]
        for entry in campaign.journal()
        if entry["type"] == "submitted"
        for record in entry["jobs"]
    }
    assert {jobs[end.trial, end.attempt] for end in state.ends if end.reason.value == "LOST"} == {first.name}
    assert state.workforce.agents[first.name].left.reason == "killed"
    assert second.ended().reason == "dismissed"
    check_nothing_lost_and_nothing_twice(campaign, 8)


def test_trials_of_a_terminated_agent_go_on_elsewhere(make_agents_campaign):
    campaign = make_agents_campaign(training__simulated_epoch_seconds=0.3)
    first, second = campaign.start_agent(), campaign.start_agent()
    ended = once(lambda controller: len(controller.state.begins) >= 3, lambda controller: first.process.terminate())
    phase, state = run_until(campaign, lambda controller: False, ended)
    reasons = Counter(end.reason.value for end in state.ends)
    assert (phase, reasons["COMPLETED"]) == (Phase.FINISHED, 8)
    assert reasons.keys() == {"COMPLETED", "PREEMPTED"}
    assert second.ended().reason == "dismissed"
    check_nothing_lost_and_nothing_twice(campaign, 8)


@pytest.mark.parametrize(("torn", "first"), [(False, 3), (True, 4)], ids=["line on disk", "line torn"])
def test_a_controller_killed_at_every_second_journal_line_loses_nothing(make_agents_campaign, torn, first):
    trials = 2
    for line in range(first, 60, 2):
        changes = {"campaign__concurrency": 1, "training__simulated_epoch_seconds": 0.0}
        campaign = make_agents_campaign(f"line {line}", campaign__max_trials=trials, **changes)
        agent = campaign.start_agent(slots=1)
        if run_and_die(campaign, line, torn):
            break
        assert run_and_die(campaign, 1000, torn)
        check_nothing_lost_and_nothing_twice(campaign, trials)
        begins = Counter(
            (event["trial"], event["attempt"])
            for events in campaign.events().values()
            for event in events
            if event["type"] == "begin"
        )
        assert set(begins.values()) == {1}
        assert agent.ended().reason == "dismissed"
    assert line > 5 + trials
