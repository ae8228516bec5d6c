"""The life of an attempt: real processes with the simulated trainer, and by hand."""

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


def trial(directory, *options):
    return subprocess.run(command(directory, *options), capture_output=True, text=True, timeout=60)


def events(directory, name="00000-1.0"):
    return [json.loads(line) for line in (directory.path / "events" / f"{name}.jsonl").read_text().splitlines()]


def test_an_attempt_writes_begin_epochs_and_end(directory):
    assert trial(directory, "--attempt", "1").returncode == 0
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


def test_a_job_that_comes_after_its_attempt_was_given_up_does_nothing(directory):
    revoke(directory, 0, 1, EndReason.LOST, "gone")
    done = trial(directory, "--attempt", "1")
    assert done.returncode == 0
    assert "claimed already" in done.stderr
    assert [event["reason"] for event in events(directory)] == ["LOST"]


def test_a_job_whose_attempt_is_given_up_while_it_runs_exits_and_writes_nothing_more(tmp_path):
    directory = make_directory(tmp_path / "long", epochs=9000)
    process = subprocess.Popen(command(directory, "--attempt", "1"), stderr=subprocess.PIPE)
    path = directory.events(0, 1, 0)
    deadline = time.monotonic() + 60
    while not (path.exists() and '"epoch"' in path.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    revoke(directory, 0, 1, EndReason.LOST, "gone")
    lines = len(events(directory))
    assert "given up" in process.communicate(timeout=60)[1].decode()
    assert process.returncode == 0
    assert len(events(directory)) <= lines + 1  # an epoch may have been on its way
    assert all(event["type"] != "end" for event in events(directory))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_at_once_and_says_so(tmp_path, number):
    directory = make_directory(tmp_path / "slow", epoch_seconds=30)
    process = subprocess.Popen(command(directory, "--attempt", "1"), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (directory.events(0, 1, 0).exists() and events(directory)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait(timeout=60) == 0
    end = events(directory)[-1]
    assert (end["reason"], end["best_error"]) == ("STOPPED", None)


@pytest.mark.parametrize("reason", ["TRAINING_DIVERGED", "TRIAL_ERROR", "BAD_DATA"])
def test_a_failure_is_a_typed_end(tmp_path, reason):
    directory = make_directory(tmp_path / "failing", failure_rate=1.0, failure_reason=reason)
    assert trial(directory, "--attempt", "1").returncode == 1
    end = events(directory)[-1]
    assert (end["type"], end["reason"]) == ("end", reason)


def test_by_hand_events_go_to_standard_output_and_the_campaign_stays_as_it_is(directory):
    before = sorted(directory.path.rglob("*"))
    done = trial(directory)
    assert done.returncode == 0
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["type"] for event in printed] == ["begin", *["epoch"] * 6, "end"]
    assert sorted(directory.path.rglob("*")) == before
    trial(directory, "--attempt", "1")
    assert [event.get("error") for event in events(directory)] == [event.get("error") for event in printed]


def test_early_stopping_waits_as_long_as_patience_says(tmp_path):
    directory = make_directory(tmp_path / "flat", epoch_seconds=0)
    spec, _ = read_spec(directory.spec(0))
    flat = spec.training.model_copy(update={"min_delta": 1.0})
    directory.write_spec(spec.model_copy(update={"training": flat, "patience": 2}))
    trial(directory, "--attempt", "1")
    *_, last, end = events(directory)
    assert end["reason"] == "EARLY_STOPPED"
    assert last["epoch"] == 3  # the first sets the best, two more do not improve on it


def test_a_damaged_specification_says_what_is_wrong(directory):
    directory.spec(0).write_text(directory.spec(0).read_text().replace('"trial":0', '"trial":"none"'))
    done = trial(directory, "--attempt", "1")
    assert done.returncode == 1
    assert f"{directory.spec(0)}: not a trial specification: trial" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_simulated_trainer_does_not_load_torch(directory):
    program = (
        "import sys; from aiperf_orch.trial.__main__ import main; "
        f"main([{str(directory.spec(0))!r}]); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0


# files that cannot be opened for a moment


FAILING = """
import os, sys
sys.path.insert(0, {tests!r})
from failing_files import FailingOpen
os.open = FailingOpen({part!r}, at={at}, number={number}, times={times})
from aiperf_orch.trial import __main__, lifecycle, simulated
lifecycle.LONG_RETRY_SECONDS = simulated.LONG_RETRY_SECONDS = {patience}
sys.exit(__main__.main(sys.argv[1:]))
"""


def disturbed_trial(directory, part, *, number, at=1, times=3, patience=60):
    told = {"part": part, "at": at, "number": number, "times": times, "patience": patience}
    script = FAILING.format(tests=str(Path(__file__).parent.parent), **told)
    command = [sys.executable, "-c", script, str(directory.spec(0)), "--attempt", "2"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


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
def test_a_file_that_cannot_be_opened_for_a_moment_costs_an_attempt_nothing(directory, part, number):
    assert trial(directory, "--attempt", "1").returncode == 0
    done = disturbed_trial(directory, part, number=number)
    assert done.returncode == 0, done.stderr
    begin, end = events(directory, "00000-2.0")  # it goes on where the first attempt ended
    assert (begin["type"], end["reason"]) == ("begin", "COMPLETED")
    assert end["weights_sha256"] == events(directory)[-1]["weights_sha256"]


def test_a_checkpoint_that_stays_unreadable_is_the_nodes_fault_and_named(directory):
    trial(directory, "--attempt", "1")
    done = disturbed_trial(directory, "/00000.checkpoint", number=errno.EIO, times=10**6, patience=0.2)
    assert done.returncode == 1
    [end] = events(directory, "00000-2.0")
    assert end["reason"] == "NODE_FAILURE"
    assert f"{directory.checkpoint(0)}: cannot be read for now: Input/output error" in end["message"]
