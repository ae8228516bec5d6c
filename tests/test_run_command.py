"""`aiperf-orch run`, `stop` and `tick` with real processes, real signals and a real terminal."""

import csv
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processes import running
from terminal import in_terminal
from waiting import wait_for

SITE = Path(__file__).parents[1] / "site_configs" / "local.yaml"
AN_HOUR = ("--duration", "1h")  # the site's 150 seconds may not suffice a busy machine
SIMULATED = ("--set", "training.trainer=simulated", "--set", "training.simulated.epoch_seconds=0.05", *AN_HOUR)
LONG = ("--set", "training.patience=900", "--set", "training.max_patience=900", *AN_HOUR)
SLOW = (
    "--set",
    "training.trainer=simulated",
    "--set",
    "training.simulated.epoch_seconds=0.3",
    "--set",
    "training.warmup_epochs=[900]",
    *LONG,
)
AIPERF = (sys.executable, "-m", "aiperf_orch.cli")


def start(*arguments, **options):
    return subprocess.Popen(
        [*AIPERF, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def aiperf(*arguments, timeout=100, **options):
    return subprocess.run([*AIPERF, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, **options)


def row(path):
    with path.open() as file:
        (only,) = csv.DictReader(file)
    return only


def has_epochs(campaign, files=1):
    return sum('"epoch"' in path.read_text() for path in (campaign / "events").glob("*.jsonl")) >= files


def jobs_of(campaign):
    tag = re.search(r"^tag: (\w+)", (campaign / "campaign.yaml").read_text(), re.MULTILINE)[1]
    return [each.process for each in running() if each.environment.get("AIPERF_ORCH_JOB", "").startswith(tag)]


@pytest.fixture
def campaign(tmp_path):
    path = tmp_path / "campaign"
    yield path
    if path.exists():
        for process in jobs_of(path):
            process.kill()


def test_the_main_job_trains_real_networks_and_prints_the_score(campaign):
    short = ("--max-trials", 2, "--set", "training.warmup_epochs=[2, 2]", *AN_HOUR)
    done = aiperf("run", SITE, "--campaign-dir", campaign, *short)
    assert done.returncode == 0, done.stderr
    assert "trial 0 ended: COMPLETED" in done.stderr
    for word in ("score", "error", "regulated score", "not rankable", "duration", "data", str(campaign)):
        assert word in done.stdout
    assert "SIMULATED" not in done.stdout
    result = row(campaign / "result.csv")
    assert (result["rankable"], result["missed_rules"], result["simulated"]) == ("no", "duration data", "no")
    assert float(result["error"]) < 0.6
    assert float(result["score"]) > 0
    assert result["torch"]
    with (campaign / "leaderboard.csv").open() as file:
        trials = list(csv.DictReader(file))
    assert [each["rank"] for each in trials] == ["1", "2"]
    assert len({each["network"] for each in trials}) == 2
    assert sum(int(each["operations"]) for each in trials) == int(result["operations"])


def test_a_new_campaign_directory_is_named_at_the_start_and_the_end(tmp_path):
    done = aiperf("run", SITE, "--max-trials", 1, *SIMULATED, cwd=tmp_path)
    assert done.returncode == 0
    (made,) = (tmp_path / "campaigns").iterdir()
    start = next(line for line in done.stderr.splitlines() if line.startswith("new campaign in "))
    assert f"campaigns/{made.name}" in start
    assert str(made) in done.stdout.splitlines()[-1]
    assert made.stat().st_mode & 0o777 == 0o700
    assert "SIMULATED" in done.stdout


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(campaign):
    command = ("run", SITE, "--campaign-dir", campaign, "--max-trials", 4, *SLOW)
    process = start(*command)
    wait_for(
        lambda: campaign.exists() and (campaign / "events").exists() and has_epochs(campaign, 2),
        "2 trial(s) have an epoch",
    )
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on" in messages
    assert "score" in output
    wait_for(lambda: not jobs_of(campaign), "all jobs have ended")
    began = row(campaign / "result.csv")["started"]
    epochs = int(row(campaign / "result.csv")["epochs"])
    assert epochs >= 2

    process = start(*command)
    wait_for(lambda: has_epochs(campaign, 3), "3 trial(s) have an epoch")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert row(campaign / "result.csv")["started"] == began
    assert int(row(campaign / "result.csv")["epochs"]) > epochs


@pytest.mark.long
def test_on_sigterm_the_controller_leaves_and_trials_run_on_to_be_adopted(campaign):
    command = (
        "run",
        SITE,
        "--campaign-dir",
        campaign,
        "--max-trials",
        1,
        "--set",
        "training.simulated.epoch_seconds=0.2",
        "--set",
        "training.trainer=simulated",
        "--set",
        "training.warmup_epochs=[40]",
        *LONG,
    )
    process = start(*command)
    wait_for(lambda: (campaign / "events").exists() and has_epochs(campaign), "1 trial(s) have an epoch")
    process.send_signal(signal.SIGTERM)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "run on" in messages  # on a loaded machine they may be over by the time that this is said
    done = aiperf(*command)
    assert done.returncode == 0, done.stderr
    assert "40 epochs" in done.stderr
    assert [path.name for path in (campaign / "events").iterdir()] == ["00000-1.0.jsonl"]


def test_stop_ends_a_running_campaign(campaign):
    process = start("run", SITE, "--campaign-dir", campaign, *SLOW)
    wait_for(lambda: (campaign / "events").exists() and has_epochs(campaign), "1 trial(s) have an epoch")
    assert aiperf("stop", campaign).returncode == 0
    process.communicate(timeout=60)
    assert process.returncode == 4
    wait_for(lambda: not jobs_of(campaign), "all jobs have ended")
    assert "stopped" in aiperf("status", campaign).stdout
    assert aiperf("stop", campaign).returncode == 0


def test_stop_ends_trials_whose_controller_was_killed(campaign):
    process = start("run", SITE, "--campaign-dir", campaign, *SLOW)
    wait_for(lambda: (campaign / "events").exists() and has_epochs(campaign), "1 trial(s) have an epoch")
    process.kill()
    process.communicate()
    assert jobs_of(campaign)
    assert aiperf("stop", campaign).returncode == 0
    wait_for(lambda: not jobs_of(campaign), "all jobs have ended")
    assert "STOPPED" in aiperf("status", campaign).stdout


def test_a_second_run_is_refused_while_the_first_lives(campaign):
    process = start("run", SITE, "--campaign-dir", campaign, *SLOW)
    wait_for(lambda: (campaign / "events").exists() and has_epochs(campaign), "1 trial(s) have an epoch")
    second = aiperf("run", SITE, "--campaign-dir", campaign, *SLOW)
    assert second.returncode == 1
    assert "a live controller holds this campaign" in second.stderr
    assert "Traceback" not in second.stderr
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_paused_campaign_fails_with_the_reason(campaign):
    done = aiperf("run", SITE, "--campaign-dir", campaign, *SIMULATED, "--set", "training.simulated.failure_rate=1.0",
                  "--set", "training.simulated.failure_reason=BAD_DATA")  # fmt: skip
    assert done.returncode == 1
    assert "paused: trial 0 ended BAD_DATA" in done.stderr


def test_ticks_from_cron_run_a_campaign(campaign):
    process = start("run", SITE, "--campaign-dir", campaign, "--max-trials", 2, *SIMULATED)
    wait_for(lambda: (campaign / "events").exists() and has_epochs(campaign), "1 trial(s) have an epoch")
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 120
    while (done := aiperf("tick", campaign)).returncode == 4:
        assert time.monotonic() < deadline
    assert done.returncode == 0, done.stderr
    assert "finished" in done.stderr
    assert int(row(campaign / "result.csv")["trials"]) == 2


def test_on_a_terminal_the_view_is_redrawn_in_place(campaign):
    command = [*AIPERF, "run", str(SITE), "--campaign-dir", str(campaign), "--max-trials", "2", *SIMULATED]
    status, text = in_terminal(*command, columns=120)
    assert status == 0
    for word in ("elapsed", "of 2 trials", "running", "ended", "best error", "OPS", "SIMULATED"):
        assert word in text
    assert re.search(r"\x1b\[\d+A\x1b\[J", text)  # the cursor goes up, and the lines are erased: drawn in place
    assert "not rankable" in text
