"""A campaign of two-node trials whose nodes, jobs, scheduler and controller are lost."""

import json
import time
from collections import Counter

import pytest
from pbs.instance import Pbs

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.records.base import EndReason
from aiperf_orch.results.result import compute_result
from cluster.processes import wait_until
from controller.faulted import PATIENCE, ObservedCampaign, OnPbs, OnSlurm, faulted_settings
from controller.following import check_verifies

TRIALS = 40


@pytest.fixture(params=[pytest.param("slurm", marks=pytest.mark.slurm), pytest.param("pbs", marks=pytest.mark.pbs)])
def batch_system(request, tmp_path, monkeypatch):
    if request.param == "slurm":
        yield OnSlurm(request.getfixturevalue("slurm"))
        return
    with Pbs(tmp_path / "pbs", nodes=4) as instance:
        monkeypatch.setenv("PATH", instance.environment["PATH"])
        yield OnPbs(instance)


@pytest.fixture
def campaign(tmp_path, batch_system):
    scheduler = batch_system.scheduler | {"nodes": 2}
    settings = faulted_settings(scheduler, concurrency=batch_system.concurrency, trials=TRIALS, epoch_seconds=0.3)
    live = ObservedCampaign(tmp_path, settings)
    yield live
    live.close()


def running(state):
    """Attempts that train, the newest first: those have longest to go."""
    begun = [attempt for attempt in state.live.values() if attempt.began and not attempt.cancelling]
    return sorted(begun, key=lambda attempt: attempt.began.time, reverse=True)


def ends(state, reason):
    return sum(end.reason is reason for end in state.ends)


def lose_a_node_under_a_trial(campaign, batch_system):
    """Cut the power of a node that a trial runs on, until one is hit: it may have ended the moment before."""
    before = ends(campaign.state, EndReason.NODE_FAILURE)
    for _ in range(10):
        (node, *_), key = campaign.wait_for(
            lambda state: [(each.began.hosts, each.key) for each in running(state)][:1], "a running trial"
        )[0]
        batch_system.lose_node(node)
        campaign.wait_for(lambda state, key=key: key not in state.live, f"the end of attempt {key}")
        batch_system.bring_back(node)
        if ends(campaign.state, EndReason.NODE_FAILURE) > before:
            return
    pytest.fail("no trial was hit")


def cancel_a_running_job(campaign, batch_system):
    """Delete a running trial's job as a user would, until one is hit."""
    before = ends(campaign.state, EndReason.CANCELLED)
    for _ in range(10):
        job, key = campaign.wait_for(
            lambda state: [(each.job, each.key) for each in running(state)][:1], "a running trial"
        )[0]
        batch_system.cancel(job)
        campaign.wait_for(lambda state, key=key: key not in state.live, f"the end of attempt {key}")
        if ends(campaign.state, EndReason.CANCELLED) > before:
            return
    pytest.fail("no job was hit")


@pytest.mark.long
def test_a_campaign_with_all_kinds_of_faults_ends_scored(campaign, batch_system):
    campaign.wait_for_ends(3)
    campaign.kill()
    campaign.wait_for_ends(6)
    lose_a_node_under_a_trial(campaign, batch_system)
    campaign.wait_for_ends(14)
    campaign.kill()
    campaign.wait_for_ends(17)
    cancel_a_running_job(campaign, batch_system)
    campaign.wait_for_ends(22)
    batch_system.stop_server()
    time.sleep(3)  # some questions and submissions in vain
    batch_system.start_server()
    campaign.wait_for_ends(27)
    campaign.kill()
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()

    directory = CampaignDirectory.open(campaign.path)
    result = compute_result(directory)
    state = result.state
    assert state.phase is Phase.FINISHED
    assert len(state.trials) == TRIALS
    assert all(trial.end is not None for trial in state.trials.values())
    reasons = Counter(end.reason for end in state.ends)
    assert reasons.keys() <= {EndReason.COMPLETED, EndReason.NODE_FAILURE, EndReason.CANCELLED}, reasons
    assert reasons[EndReason.NODE_FAILURE] >= 1
    assert reasons[EndReason.CANCELLED] >= 1
    for trial in state.trials.values():
        assert trial.end.reason in (EndReason.COMPLETED, EndReason.CANCELLED)
        assert all(attempt.end.reason is EndReason.NODE_FAILURE for attempt in trial.attempts[:-1])
        assert all(len(attempt.began.hosts) == 2 for attempt in trial.attempts if attempt.began)

    files = (directory.path / "events").iterdir()
    on_disk = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    finished = {(event["trial"], event["epoch"]) for event in on_disk if event["type"] == "epoch"}
    counted = Counter((epoch.trial, epoch.epoch) for epoch in result.collected.epochs)
    assert set(counted) == finished  # no epoch is lost
    assert set(counted.values()) == {1}  # and none counts twice
    assert result.score.operations == sum(epoch.ops for epoch in result.collected.epochs)
    assert result.score.score > 0
    assert result.faults == []
    assert (directory.path / "result.csv").exists()

    wait_until(lambda: not batch_system.jobs(), "every job has left the queue")
    check_verifies(campaign.path)


@pytest.mark.slurm
def test_a_short_campaign_trains_on_slurm(tmp_path, slurm):
    settings = {
        "scheduler": {
            "kind": "slurm",
            "cpus_per_task": 1,
            "memory": "2000M",
            "time_limit": "10m",
            "poll_interval": "500ms",
            "lookahead": 0,
        },
        "campaign": {"duration": "1h", "max_trials": 1, "seed": 1},
        "search": {"batch_size": [32, 64]},
        "training": {"warmup_epochs": [2], "epochs": 2},
    }
    campaign = ObservedCampaign(tmp_path, settings)
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()
    campaign.close()
    result = compute_result(CampaignDirectory.open(campaign.path))
    assert not result.simulated
    assert [trial.end.reason for trial in result.state.trials.values()] == [EndReason.COMPLETED]
    assert result.score.epochs == 2
    assert result.score.error < 0.9
    assert result.faults == []
    wait_until(lambda: not slurm.alive_jobs(), "the job has left the queue")
    check_verifies(campaign.path)
