"""A campaign whose settings are wrong and are put right, with a controller that is killed again and again."""

import subprocess
import sys

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.records.base import EndReason
from controller.faulted import PATIENCE, ObservedCampaign, OnSlurm, faulted_settings
from controller.following import check_verifies

pytestmark = [pytest.mark.long, pytest.mark.slurm]
TRIALS = 40


@pytest.fixture
def campaign(tmp_path, slurm):
    slurm.run("scontrol", "create", "partition=closed", "nodes=ALL", "state=DOWN")
    closed = OnSlurm.scheduler | {"partition": "closed"}
    live = ObservedCampaign(tmp_path, faulted_settings(closed, concurrency=2, trials=TRIALS, epoch_seconds=1.5))
    yield live
    live.close()


def change(campaign, *arguments, command="set"):
    """`aiperf-orch set` or `drain`, as an administrator runs it."""
    line = [sys.executable, "-m", "aiperf_orch.cli", command, campaign.path, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def nodes_at_work(state):
    return [host for attempt in state.live.values() if attempt.began for host in attempt.began.hosts]


def test_wrong_settings_are_put_right_while_controllers_are_killed(campaign):
    campaign.wait_for(lambda state: any(attempt.job for attempt in state.live.values()), "a job that waits")
    done = change(campaign, "partition=main")
    assert done.returncode == 0, done.stderr
    campaign.kill()
    campaign.wait_for_ends(4)
    assert change(campaign, "partition=main").returncode == 0  # nothing to change
    assert change(campaign, "nodes=2").returncode == 2
    done = change(campaign, "concurrency=4", "lookahead=2")
    campaign.kill()
    assert done.returncode == 0, done.stderr
    campaign.wait_for_ends(12)
    node = campaign.wait_for(nodes_at_work, "a trial that runs")[0]
    done = change(campaign, node, "--now", command="drain")
    campaign.kill()
    assert done.returncode == 0, done.stderr
    campaign.wait_for(lambda state: node not in nodes_at_work(state), "the drained node without trials")
    campaign.wait_for_ends(20)
    assert change(campaign, node, "--undo", command="drain").returncode == 0
    campaign.process.kill()
    campaign.process.wait()
    assert change(campaign, "time_limit=9m").returncode == 0  # without a controller
    campaign.start()
    assert campaign.process.wait(PATIENCE) == 0, campaign.said()
    state = campaign.state
    keys = [each.key.rpartition(".")[2] for entry in state.settings_changes for each in entry.changes]
    assert keys == ["partition", "concurrency", "lookahead", "time_limit"]
    assert state.trials_ended == TRIALS
    assert {EndReason.RESUBMITTED, EndReason.PREEMPTED} <= {end.reason for end in state.ends}
    assert CampaignDirectory.open(campaign.path).settings.campaign.concurrency == 4
    check_verifies(campaign.path)
