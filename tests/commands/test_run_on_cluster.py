"""`run` on a cluster as an administrator uses it: agreed to, left in the background, stepped by cron, stopped."""

import csv
import os
import pty
import signal
import subprocess
import sys

import psutil
import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.snapshot import read_state
from waiting import wait_for

pytestmark = pytest.mark.slurm

PATIENCE = 120  # seconds


@pytest.fixture
def site(write_site, slurm):
    return write_site(
        scheduler__kind="slurm",
        scheduler__cpus_per_task=1,
        scheduler__memory="200M",
        scheduler__time_limit="10m",
        scheduler__lookahead=0,
        scheduler__query_interval="500ms",
        scheduler__silent_after="1s",
        scheduler__lost_after="1s",
        scheduler__stop_grace="30s",
    )


@pytest.fixture
def campaign(tmp_path):
    """Path of a campaign; a controller that still holds it at the end is killed."""
    path = tmp_path / "campaign"
    yield path
    holder = read_holder(path / "controller.lock") if path.exists() else None
    if holder and holder.alive() and holder.pid != os.getpid():
        os.kill(holder.pid, signal.SIGKILL)


def state_of(campaign):
    return read_state(CampaignDirectory.open(campaign))


def test_nothing_is_submitted_without_agreement(aiperf, site, campaign, slurm):
    done = aiperf("run", site, "--campaign-dir", campaign, "--concurrency", "4", "--duration", "2h")
    assert done.returncode == 2
    assert "up to 1 node (4 trials of 1 node at once, 4 to a node) for 2h" in done.stderr
    assert "at most 2.0 node-hours" in done.stderr
    assert "give --yes" in done.stderr
    assert not campaign.exists()
    assert slurm.alive_jobs() == []


@pytest.mark.parametrize(("answer", "status"), [(b"n\n", 2), (b"y\n", 0)])
def test_the_user_at_a_terminal_is_asked(site, campaign, answer, status):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aiperf_orch.cli", "run", site, "--campaign-dir", campaign, "--max-trials", "1"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, answer)
    _, said = process.communicate(timeout=PATIENCE)
    os.close(ours)
    assert b"submit to the cluster?" in said
    assert process.returncode == status, said
    assert campaign.exists() == (status == 0)


def test_a_background_controller_survives_the_logout_and_is_stopped(aiperf, site, campaign, slurm):
    # longer than any machine takes for this test, early stopping included
    endless = ("warmup_epochs=[5000]", "patience=5000", "max_patience=5000", "simulated.epoch_seconds=0.2")
    options = [word for setting in endless for word in ("--set", f"training.{setting}")]
    done = aiperf("run", site, "--campaign-dir", campaign, *options, "--yes", "--detach", timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    holder = read_holder(campaign / "controller.lock")
    assert f"in the background as process {holder.pid}" in done.stderr
    assert holder.alive()
    assert os.getsid(holder.pid) == holder.pid  # without a controlling terminal
    wait_for(lambda: state_of(campaign).begins, "a trial has begun", seconds=PATIENCE)
    assert slurm.alive_jobs()
    assert "RUNNING" in aiperf("status", campaign).stdout

    again = aiperf("run", site, "--campaign-dir", campaign, *options, "--yes", "--detach", timeout=PATIENCE)
    assert again.returncode == 1
    assert "a live controller holds this campaign" in again.stderr

    stopped = aiperf("stop", campaign, timeout=PATIENCE)
    assert stopped.returncode == 0, stopped.stderr
    wait_for(
        lambda: not psutil.pid_exists(holder.pid) or not holder.alive(), "the controller has ended", seconds=PATIENCE
    )
    wait_for(lambda: slurm.alive_jobs() == [], "no job is left", seconds=PATIENCE)
    assert "stopped" in aiperf("status", campaign).stdout
    assert "stopped; go on" in (campaign / "controller.log").read_text()


def test_a_prepared_campaign_is_run_by_ticks_alone(aiperf, site, campaign, slurm):
    prepared = aiperf("run", site, "--campaign-dir", campaign, "--prepare")
    assert prepared.returncode == 0, prepared.stderr
    assert f"aiperf_orch.cli tick {campaign}" in prepared.stderr
    assert slurm.alive_jobs() == []

    said = []

    def finished():
        done = aiperf("tick", campaign)
        said.append(done.stderr)
        assert done.returncode in (0, 4), done.stderr
        return done.returncode == 0

    wait_for(finished, "the campaign is finished", seconds=PATIENCE)
    assert "finished" in said[-1]
    with (campaign / "result.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["trials"], row["scheduler"], row["simulated"]) == ("2", "slurm", "yes")
    wait_for(lambda: slurm.alive_jobs() == [], "no job is left", seconds=PATIENCE)
