"""Attempts of a trial, in a campaign and outside: real processes with the simulated trainer."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aiperf_orch.campaign.directory import CampaignDirectory, read_spec
from aiperf_orch.campaign.events import revoke
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller.search_adapter import SearchAdapter
from aiperf_orch.records.base import EndReason
from aiperf_orch.settings.models import SiteSettings
from failing_files import PASSING


@pytest.fixture
def directory(tmp_path):
    return make_directory(tmp_path / "campaign")


def make_directory(path, epochs=6, **simulated):
    training = {
        "trainer": "simulated",
        "warmup_epochs": [epochs],
        "patience": epochs,
        "max_patience": epochs,
        "simulated": {"epoch_seconds": 0.05} | simulated,
    }
    settings = SiteSettings.model_validate({"training": training})
    directory = CampaignDirectory.create(path, settings, {})
    spec, _ = SearchAdapter(directory, []).propose(0, CampaignState())
    directory.write_spec(spec)
    return directory


def command(directory, *options):
    return [sys.executable, "-P", "-m", "aiperf_orch.trial", str(directory.spec(0)), *options]


def run_trial(directory, *options):
    return subprocess.run(command(directory, *options), capture_output=True, text=True, timeout=60)


def events(directory, name="00000-1.0"):
    return [json.loads(line) for line in (directory.path / "events" / f"{name}.jsonl").read_text().splitlines()]


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_attempt_writes_begin_epochs_and_end(directory):
    assert run_trial(directory, "--attempt", "1").returncode == 0
    begin, *epochs, end = events(directory)
    _, sha256 = read_spec(directory.spec(0))
    assert (begin["type"], begin["spec_sha256"], begin["trainer"]) == ("begin", sha256, "simulated")
    assert abs(begin["clock_skew"]) < 1
    assert [epoch["epoch"] for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert (end["type"], end["reason"]) == ("end", "COMPLETED")
    assert end["best_error"] == min(epoch["error"] for epoch in epochs)
    assert directory.weights(0).exists()


def test_an_attempt_is_claimed_once(directory):
    first, second = (subprocess.Popen(command(directory, "--attempt", "1"), stderr=subprocess.PIPE) for _ in range(2))
    output = [each.communicate(timeout=60)[1].decode() for each in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert sum("claimed already" in text for text in output) == 1
    assert sum(event["type"] == "begin" for event in events(directory)) == 1


def test_a_job_that_starts_after_its_attempt_was_revoked_exits(directory):
    revoke(directory, 0, 1, EndReason.LOST, "gone")
    done = run_trial(directory, "--attempt", "1")
    assert done.returncode == 0
    assert "claimed already" in done.stderr
    assert [event["reason"] for event in events(directory)] == ["LOST"]


def test_a_running_job_whose_attempt_is_revoked_exits_without_more_events(tmp_path):
    directory = make_directory(tmp_path / "long", epochs=9000)
    process = subprocess.Popen(command(directory, "--attempt", "1"), stderr=subprocess.PIPE)
    path = directory.events(0, 1, 0)
    wait_until(lambda: path.exists() and '"epoch"' in path.read_text())
    revoke(directory, 0, 1, EndReason.LOST, "gone")
    lines = len(events(directory))
    assert "revoked" in process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0
    assert len(events(directory)) <= lines + 1  # one epoch may have been written at the same time
    assert all(event["type"] != "end" for event in events(directory))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_attempt_at_once_with_an_end_event(tmp_path, number):
    directory = make_directory(tmp_path / "slow", epoch_seconds=30)
    process = subprocess.Popen(command(directory, "--attempt", "1"), stderr=subprocess.DEVNULL)
    wait_until(lambda: directory.events(0, 1, 0).exists() and events(directory))
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == 0
    end = events(directory)[-1]
    assert (end["reason"], end["best_error"]) == ("STOPPED", None)
    assert end["message"] == f"stopped by {number.name}"


@pytest.mark.parametrize("reason", ["TRAINING_DIVERGED", "TRIAL_ERROR", "BAD_DATA"])
def test_a_failure_has_an_end_event_with_its_reason(tmp_path, reason):
    directory = make_directory(tmp_path / "failing", failure_rate=1.0, failure_reason=reason)
    assert run_trial(directory, "--attempt", "1").returncode == 1
    end = events(directory)[-1]
    assert (end["type"], end["reason"]) == ("end", reason)


def test_without_an_attempt_events_are_printed_and_no_file_is_written(directory):
    before = sorted(directory.path.rglob("*"))
    done = run_trial(directory)
    assert done.returncode == 0
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in printed] == ["begin", *["epoch"] * 6, "end"]
    assert sorted(directory.path.rglob("*")) == before
    run_trial(directory, "--attempt", "1")
    assert [event.get("error") for event in events(directory)] == [event.get("error") for event in printed]


def test_early_stopping_waits_as_long_as_patience(tmp_path):
    directory = make_directory(tmp_path / "flat", epoch_seconds=0)
    spec, _ = read_spec(directory.spec(0))
    flat = spec.training.model_copy(update={"min_delta": 1.0})
    directory.write_spec(spec.model_copy(update={"training": flat, "patience": 2}))
    run_trial(directory, "--attempt", "1")
    *_, last, end = events(directory)
    assert end["reason"] == "EARLY_STOPPED"
    assert last["epoch"] == 3  # the first sets the best, two more do not improve on it


def test_the_error_for_a_damaged_specification_names_file_and_key(directory):
    directory.spec(0).write_text(directory.spec(0).read_text().replace('"trial":0', '"trial":"none"'))
    done = run_trial(directory, "--attempt", "1")
    assert done.returncode == 1
    assert f"{directory.spec(0)}: not a trial specification: trial" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_simulated_trainer_does_not_load_torch(directory):
    program = (
        "import sys; from aiperf_orch.trial.__main__ import main; "
        f"main([{str(directory.spec(0))!r}]); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0


# transient errors of the file system


FAILING = """
import os, sys
sys.path.insert(0, {tests!r})
from failing_files import FailingOpen
os.open = FailingOpen({part!r}, at={at}, number={number}, times={times})
from aiperf_orch.trial import __main__
from aiperf_orch.trial.runtime import attempt, simulated_trainer
attempt.LONG_RETRY_SECONDS = simulated_trainer.LONG_RETRY_SECONDS = {retry_for}
sys.exit(__main__.main(sys.argv[1:]))
"""


def run_with_failing_files(directory, part, *, number, at=1, times=3, retry_for=60):
    values = {"part": part, "at": at, "number": number, "times": times, "retry_for": retry_for}
    script = FAILING.format(tests=str(Path(__file__).parent.parent), **values)
    arguments = [sys.executable, "-c", script, str(directory.spec(0)), "--attempt", "2"]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
@pytest.mark.parametrize(
    "part",
    [
        "/campaign.yaml",
        "/trials/00000.json",
        "/00000-1.0.jsonl",
        "/00000-2.0.jsonl",
        "/00000-2.1.jsonl",
        "/00000.checkpoint",
        "/00000.safetensors",
    ],
)
def test_a_transient_error_of_any_file_does_not_end_an_attempt(directory, part, number):
    assert run_trial(directory, "--attempt", "1").returncode == 0
    done = run_with_failing_files(directory, part, number=number)
    assert done.returncode == 0, done.stderr
    begin, end = events(directory, "00000-2.0")  # continues where the first attempt ended
    assert (begin["type"], end["reason"]) == ("begin", "COMPLETED")
    assert end["weights_sha256"] == events(directory)[-1]["weights_sha256"]


def test_a_checkpoint_that_stays_unreadable_is_a_node_failure(directory):
    run_trial(directory, "--attempt", "1")
    done = run_with_failing_files(directory, "/00000.checkpoint", number=errno.EIO, times=10**6, retry_for=0.2)
    assert done.returncode == 1
    [end] = events(directory, "00000-2.0")
    assert end["reason"] == "NODE_FAILURE"
    assert f"{directory.checkpoint(0)}: cannot be read for now: Input/output error" in end["message"]
