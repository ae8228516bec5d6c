"""Trials at work never exceed `campaign.concurrency` on a cluster with more room; further jobs wait in its queue."""

import os
import signal
from collections import Counter
from datetime import datetime

import pytest

from aiperf_orch.campaign.state import Phase
from aiperf_orch.results.result import compute_result

pytestmark = pytest.mark.slurm
CONCURRENCY, LOOKAHEAD = 3, 2
DEADLINE = 240  # seconds


@pytest.fixture
def make(make_slurm_campaign):
    """Makes campaigns of three trials at once and two jobs in wait, on a cluster that could run them all."""

    def make(trials, epochs, **changes):
        return make_slurm_campaign(
            campaign__max_trials=trials,
            campaign__concurrency=CONCURRENCY,
            scheduler__lookahead=LOOKAHEAD,
            training__warmup_epochs=[epochs],
            training__epochs=epochs,
            training__simulated_epoch_seconds=0.5,
            **changes,
        )

    return make


def rows(campaign):
    """State and reason of each of the campaign's jobs that has not ended."""
    listed = campaign.cluster.run("squeue", "--noheader", "--array", "--format=%j|%T|%r").stdout.splitlines()
    return [tuple(row.split("|")[1:]) for row in listed if row.startswith(campaign.directory.config.tag)]


def most_at_work(campaign):
    """The greatest number of trials between their begin and end lines at any moment."""
    changes = []
    for events in campaign.events().values():
        times = {event["type"]: datetime.fromisoformat(event["time"]) for event in events if "time" in event}
        changes += [(times["begin"], 1), (times["end"], -1)]
    at_work = most = 0
    for _, change in sorted(changes):  # of two at the same moment the end comes first
        at_work += change
        most = max(most, at_work)
    return most


def begun(campaign):
    return {name for name, events in campaign.events().items() if events and events[0]["type"] == "begin"}


def check_each_ran_once(campaign, trials):
    counted = Counter(name.partition("-")[0] for name in begun(campaign))
    assert counted == {f"{trial:05d}": 1 for trial in range(trials)}
    assert compute_result(campaign.directory).faults == []
    assert campaign.leaves_nothing_running()


def test_trials_at_work_never_exceed_the_concurrency(make):
    campaign = make(trials=14, epochs=4)
    seen = Counter()

    def observe(_controller):
        seen.update(rows(campaign))
        return False

    phase, _ = campaign.run(until=observe)
    assert phase is Phase.FINISHED
    assert most_at_work(campaign) == CONCURRENCY
    assert seen["PENDING", "Dependency"]
    assert {reason for state, reason in seen if state == "PENDING"} <= {"Dependency", "None", "Priority", "Resources"}
    followers = [each for entry in campaign.journal() for each in entry.get("attempts", []) if each.get("after")]
    assert len(followers) >= 5
    check_each_ran_once(campaign, 14)


def test_waiting_jobs_start_without_a_controller_and_are_adopted(make, wait_for):
    campaign = make(trials=CONCURRENCY + LOOKAHEAD, epochs=12)
    child = os.fork()
    if child == 0:
        try:
            campaign.run()
        finally:
            os._exit(1)
    try:
        wait_for(lambda: Counter(rows(campaign))["PENDING", "Dependency"] == LOOKAHEAD, "jobs that wait", DEADLINE)
        wait_for(lambda: len(begun(campaign)) == CONCURRENCY, "the first begins", DEADLINE)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    before = campaign.journal()
    assert len(begun(campaign)) == CONCURRENCY
    everything = CONCURRENCY + LOOKAHEAD
    wait_for(lambda: len(begun(campaign)) == everything, "begins without a controller", DEADLINE)
    assert campaign.journal() == before
    assert most_ids(before) == CONCURRENCY + LOOKAHEAD

    phase, _ = campaign.run()
    assert phase is Phase.FINISHED
    assert [entry for entry in campaign.journal()[len(before) :] if entry["type"] == "submitting"] == []
    assert most_at_work(campaign) == CONCURRENCY
    check_each_ran_once(campaign, CONCURRENCY + LOOKAHEAD)
    assert rows(campaign) == []


def most_ids(journal):
    """How many attempts' jobs the journal knows."""
    return len({job["job"] for entry in journal if entry["type"] == "submitted" for job in entry["jobs"]})


@pytest.mark.long
def test_a_job_starts_when_its_leader_fails_and_the_leader_is_retried(make):
    campaign = make(trials=8, epochs=4)
    killed = []

    def disturb(controller):
        waits = [attempt for attempt in controller.state.live.values() if attempt.after]
        leaders = [
            each for each in controller.live_attempts.values() if any(w.after == each.attempt.name for w in waits)
        ]
        for live in leaders:
            if not killed and live.epochs and campaign.kill_job(live.attempt.trial):
                killed.append(live.attempt.trial)
        return False

    phase, state = campaign.run(until=disturb)
    assert phase is Phase.FINISHED
    assert killed
    assert len(state.trials[killed[0]].attempts) == 2
    assert len(state.trials) == state.trials_ended == 8
    assert campaign.leaves_nothing_running()
