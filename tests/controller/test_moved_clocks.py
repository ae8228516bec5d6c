"""A clock that is set back by half an hour, between two controllers or under one: no epoch is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise

import pytest
import yaml

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.results.result import compute_result
from controller.conftest import LOCAL
from controller.following import check_verifies

pytestmark = pytest.mark.local

AHEAD = 1800  # seconds
PATIENCE = 120


class Moved:
    """A campaign that is run by processes whose clock can be set."""

    def __init__(self, folder, library):
        self._clock, self.path, self._log = folder / "clock", folder / "campaign", folder / "controller.log"
        self._environment = os.environ | {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(self._clock)}
        settings = {
            "scheduler": LOCAL,
            "campaign": {"duration": "1h", "max_trials": 6, "concurrency": 2, "seed": 7},
            "network": {"max_layers": 60},
            "training": {
                "trainer": "simulated",
                "warmup_epochs": [8],
                "epochs": 8,
                "patience": 9,
                "simulated": {"epoch_seconds": 0.3},
            },
        }
        (folder / "site.yaml").write_text(yaml.safe_dump(settings))
        self._command = [
            sys.executable,
            "-m",
            "aiperf_orch.cli",
            "run",
            folder / "site.yaml",
            "--campaign-dir",
            self.path,
        ]

    def set_clock(self, ahead):
        self._clock.with_suffix(".new").write_text(str(ahead))
        self._clock.with_suffix(".new").replace(self._clock)

    def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=self._environment)

    def events(self):
        files = sorted((self.path / "events").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]

    def wait_for(self, kind, trial):
        deadline = time.monotonic() + PATIENCE
        while not any((event["type"], event["trial"]) == (kind, trial) for event in self.events()):
            event = f"{kind} of trial {trial}"
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {event}\n{self._log.read_text()}"
            assert self.process.poll() is None, f"the controller ended before {event}\n{self._log.read_text()}"
            time.sleep(0.05)

    def finish(self):
        assert self.process.wait(PATIENCE) == 0, self._log.read_text()


@pytest.fixture
def moved(tmp_path, preload):
    campaign = Moved(tmp_path, preload("moved_clock"))
    yield campaign
    if campaign.process.poll() is None:
        campaign.process.kill()


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(True, id="between two controllers"),
        pytest.param(False, id="under a controller and its trials", marks=pytest.mark.long),
    ],
)
def test_a_clock_that_is_set_back_costs_no_epoch_and_no_fault(moved, between):
    moved.set_clock(AHEAD)
    moved.start()
    moved.wait_for("epoch", 1)
    if between:
        moved.process.send_signal(signal.SIGTERM)  # the trials run on
        moved.process.wait(PATIENCE)
    moved.set_clock(0)
    if between:
        moved.start()
    moved.finish()

    directory = CampaignDirectory.open(moved.path)
    times = [entry.time for entry in read_journal(directory.journal)]
    assert all(earlier <= later for earlier, later in pairwise(times))
    result = compute_result(directory)
    events = moved.events()
    assert len({(event["trial"], event["epoch"]) for event in events if event["type"] == "epoch"}) == 6 * 8
    assert result.score.epochs == 6 * 8
    assert result.started == result.state.trials[0].attempts[0].began.time  # the deadline did not move
    assert 0 < result.score.seconds < AHEAD / 2
    begins = [event for event in events if event["type"] == "begin"]
    assert all(abs(event.get("set_ahead", 0) + event["clock_skew"] - AHEAD) < 60 for event in begins), begins
    check_verifies(moved.path)


@pytest.mark.long
def test_a_clock_that_is_set_ahead_is_followed(moved):
    moved.set_clock(0)
    moved.start()
    moved.wait_for("epoch", 1)
    moved.set_clock(AHEAD)
    moved.finish()
    result = compute_result(CampaignDirectory.open(moved.path))
    assert result.score.epochs == 6 * 8
    last = max(attempt.began.time for trial in result.state.trials.values() for attempt in trial.attempts)
    assert (last - result.started).total_seconds() > AHEAD / 2
    check_verifies(moved.path)
