"""Campaigns with the simulated trainer and real local jobs."""

import contextlib
import json
import os
import signal
import time

import psutil
import pytest

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.config import SiteSettings
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run
from aiperf_orch.schedulers.choosing import make_scheduler


def _settings(**changes):
    data = {
        "scheduler": {"poll_interval": "50ms", "silent_after": "1s", "lost_after": "500ms", "stop_grace": "10s"},
        "campaign": {"duration": "5m", "max_trials": 3, "seed": 7},
        "network": {"max_layers": 60},
        "training": {
            "trainer": "simulated",
            "warmup_epochs": [3],
            "epochs": 4,
            "simulated": {"epoch_seconds": 0.02},
        },
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        target = data.setdefault(section, {})
        if name.startswith("simulated_"):
            target, name = target.setdefault("simulated", {}), name.removeprefix("simulated_")
        target[name] = value
    return SiteSettings.model_validate(data)


class Campaign:
    """A campaign on disk, controlled in this process."""

    def __init__(self, path, settings):
        self.directory = CampaignDirectory.create(path, settings, {})
        self.warnings = []

    def controller(self, *, resume=True, take_over=False):
        scheduler = make_scheduler(self.directory.settings.scheduler)
        return Controller(self.directory, scheduler, resume=resume, take_over=take_over, warn=self.warnings.append)

    def run(self, *, until=lambda controller: False, stop=lambda controller: False, seconds=60):
        """Run until the campaign is over, or `until` holds of the controller; returns phase and state."""
        controller = self.controller()
        deadline = time.monotonic() + seconds
        try:
            phase = run(
                controller,
                observe=lambda: None,
                stop_wanted=lambda: stop(controller),
                leave_wanted=lambda: until(controller) or time.monotonic() > deadline,
            )
        finally:
            controller.close()
        assert time.monotonic() < deadline or phase is not Phase.RUNNING, "the campaign did not end in time"
        return phase, controller.state

    def processes(self, trial=None):
        """Processes of this campaign's jobs, or of one trial's."""
        tag = self.directory.frozen.tag
        prefix = tag if trial is None else f"{tag}-{trial:05d}-"
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AIPERF_ORCH_JOB", "").startswith(prefix):
                    found.append(process)
        return found

    def leaves_nothing_running(self, seconds=5):
        """Whether all processes of its jobs are gone within a moment."""
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.processes()

    def events(self):
        """Every event on disk, by file name."""
        return {
            path.name: [json.loads(line) for line in path.read_text().splitlines()]
            for path in sorted((self.directory.path / "events").iterdir())
        }

    def journal(self):
        """Every journal entry, as JSON."""
        return [json.loads(line) for line in self.directory.journal.read_text().splitlines()]

    def specs(self):
        """Every specification, as JSON, without what differs between campaigns."""
        return [
            {key: value for key, value in json.loads(path.read_text()).items() if key != "campaign"}
            for path in sorted((self.directory.path / "trials").iterdir())
        ]


@pytest.fixture
def make_campaign(tmp_path):
    """Makes campaigns, and ends what is left of their jobs."""
    made = []

    def make(name="campaign", **changes):
        made.append(Campaign(tmp_path / name, _settings(**changes)))
        return made[-1]

    yield make
    for campaign in made:
        for process in campaign.processes():
            with contextlib.suppress(psutil.Error):
                os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def wait_for():
    def wait(condition, seconds=20):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    return wait
