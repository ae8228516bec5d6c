"""Campaigns with the simulated trainer and real jobs, on this machine or on a private cluster."""

import contextlib
import json
import os
import signal
import time
from contextlib import ExitStack

import psutil
import pytest

from agent.running_agent import RunningAgent
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run
from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.registry import make_trial_scheduler
from aiperf_orch.settings.models import SiteSettings
from controller.following import check_verifies
from controller.stepping import Scheduler, SlowScheduler
from processes import running

LOCAL = {
    "job_per_trial": True,
    "poll_interval": "50ms",
    "silent_after": "1s",
    "lost_after": "500ms",
    "stop_grace": "10s",
}
SLURM = {
    "kind": "slurm",
    "cpus_per_task": 1,
    "memory": "200M",
    "time_limit": "10m",
    "lookahead": 0,
    "poll_interval": "100ms",
    "query_interval": "500ms",
    "silent_after": "1s",
    "lost_after": "1s",
    "stop_grace": "30s",
}

PBS = {name: value for name, value in SLURM.items() if name not in ("cpus_per_task", "memory")} | {
    "kind": "pbs",
    "query_interval": "300ms",
    "silent_after": "500ms",
    "lost_after": "500ms",
}

AGENTS = {
    "scheduler__kind": "agents",
    "scheduler__silent_after": "300ms",
    "scheduler__lost_after": "8s",
    "campaign__concurrency": 3,
    "campaign__max_trials": 8,
}


def _settings(scheduler, **changes):
    data = {
        "scheduler": dict(scheduler),
        "campaign": {"duration": "1h", "max_trials": 3, "seed": 7},
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
    if data["scheduler"].get("kind") == "agents":
        data["scheduler"].pop("job_per_trial", None)  # of the scheduler local
    return SiteSettings.model_validate(data)


class Campaign:
    """A campaign of local jobs on disk, controlled in this process."""

    patience = 300
    """Seconds that a whole campaign may take."""

    def __init__(self, path, settings):
        self.directory = CampaignDirectory.create(path, settings, {})
        self.warnings = []

    def controller(self, *, resume=True, take_over=False):
        scheduler = make_trial_scheduler(self.directory)
        return Controller(self.directory, scheduler, resume=resume, take_over=take_over, warn=self.warnings.append)

    def run(
        self,
        *,
        until=lambda controller: False,
        stop=lambda controller: False,
        seconds=None,
        what="the end of the campaign",
    ):
        """Run until the campaign is over, or `until` holds of the controller; `what` names the awaited event.

        Returns phase and state.
        """
        controller = self.controller()
        deadline = time.monotonic() + (seconds or self.patience)
        try:
            phase = run(
                controller,
                observe=lambda: None,
                stop_wanted=lambda: stop(controller),
                leave_wanted=lambda: until(controller) or time.monotonic() > deadline,
            )
        finally:
            controller.close()
        assert time.monotonic() < deadline or phase is not Phase.RUNNING, (
            f"not done within {seconds or self.patience} s: {what}: {self.warnings[-5:]}, {self.journal()[-5:]}"
        )
        return phase, controller.state

    def check_verifies(self):
        """Stop what still runs; then the campaign packages and verifies."""
        state = read_state(self.directory)
        if state.live or state.phase is Phase.RUNNING:
            self.run(stop=lambda controller: True)
        check_verifies(self.directory.path)

    def processes(self, trial=None):
        """Processes of this campaign's jobs, or of one trial's."""
        tag = self.directory.config.tag
        prefix = tag if trial is None else f"{tag}-{trial:05d}-"
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("AIPERF_ORCH_JOB", "").startswith(prefix):
                    found.append(process)
        return found

    def kill_job(self, trial):
        """Kill a trial's job with all its processes; returns whether there was any."""
        return self._signal(trial, signal.SIGKILL)

    def cancel_job(self, trial):
        """Cancel a trial's job as a user would who does not know of the campaign."""
        return self._signal(trial, signal.SIGTERM)

    def _signal(self, trial, number):
        # the oldest first: submitit must not survive to report the end of its child; ids may have wrapped in between
        processes = sorted(self.processes(trial), key=lambda process: process.create_time())
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return bool(processes)

    def end_jobs(self):
        """End what is left of its jobs."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                os.kill(process.pid, signal.SIGKILL)

    def leaves_nothing_running(self, seconds=60):
        """Whether all its jobs and their processes are gone within a moment, on a machine with nothing else to do."""
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


class ClusterCampaign(Campaign):
    """A campaign whose jobs run on a private cluster, which is tidied up anyway."""

    def __init__(self, path, settings, cluster):
        super().__init__(path, settings)
        self.cluster = cluster

    def job(self, trial):
        """The id of a trial's latest job, by the journal."""
        lines = [entry for entry in self.journal() if entry["type"] == "submitted"]
        return [job["job"] for entry in lines for job in entry["jobs"] if job["trial"] == trial][-1]

    def processes(self, trial=None):
        """Processes of this campaign's trials, or of one trial, with submitit's around them."""
        directory = self.directory
        where = [directory.path / "trials", directory.path / "jobs"]
        if trial is not None:
            where = [directory.spec(trial), directory.job_folder(trial, "").with_name(f"{trial:05d}-")]
        return [
            each.process
            for each in running()
            if "python" in each.words[0] and any(word.startswith(tuple(map(str, where))) for word in each.words)
        ]

    def end_jobs(self):
        """The cluster is tidied up anyway."""

    def leaves_nothing_running(self, seconds=60):
        deadline = time.monotonic() + seconds
        while (self.queue() or self.processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not self.queue() and not self.processes()


class SlurmCampaign(ClusterCampaign):
    """A campaign whose jobs run on a private Slurm cluster."""

    def queue(self):
        """Name and id of each of its jobs that has not ended, an array's elements one by one."""
        rows = self.cluster.run("squeue", "--noheader", "--array", "--format=%j %i").stdout.splitlines()
        return [tuple(row.split()) for row in rows if row.startswith(self.directory.config.tag)]

    def cancel_job(self, trial):
        """`scancel`; returns whether Slurm accepted it."""
        return self.cluster.run("scancel", self.job(trial), check=False).returncode == 0


class PbsCampaign(ClusterCampaign):
    """A campaign whose jobs run on the PBS stand-in."""

    def queue(self):
        """Name and id of each of its jobs that has not ended."""
        jobs = qstat.parse_jobs(self.cluster.run("qstat", "-f").stdout)
        return [(job.name, job.id) for job in jobs if job.name.startswith(self.directory.config.tag)]

    def cancel_job(self, trial):
        """`qdel`; returns whether PBS accepted it."""
        return self.cluster.run("qdel", self.job(trial)).returncode == 0


@pytest.fixture
def make_campaign(tmp_path):
    """Makes campaigns on this machine, and ends what is left of their jobs."""
    made = []

    def make(name="campaign", **changes):
        made.append(Campaign(tmp_path / name, _settings(LOCAL, **changes)))
        return made[-1]

    yield make
    for campaign in made:
        campaign.end_jobs()


@pytest.fixture
def make_slurm_campaign(tmp_path, slurm):
    """Makes campaigns on the private Slurm cluster."""
    return lambda name="campaign", **changes: SlurmCampaign(tmp_path / name, _settings(SLURM, **changes), slurm)


@pytest.fixture
def make_accounted_campaign(tmp_path, slurm_accounting):
    """Makes campaigns on the private Slurm cluster with accounting."""
    cluster = slurm_accounting
    return lambda name="campaign", **changes: SlurmCampaign(tmp_path / name, _settings(SLURM, **changes), cluster)


@pytest.fixture
def make_pbs_campaign(tmp_path, pbs):
    """Makes campaigns on the PBS stand-in."""
    return lambda name="campaign", **changes: PbsCampaign(tmp_path / name, _settings(PBS, **changes), pbs)


@pytest.fixture(
    params=[
        pytest.param("make_campaign", marks=pytest.mark.local, id="local"),
        pytest.param("make_slurm_campaign", marks=pytest.mark.slurm, id="slurm"),
    ]
)
def any_campaign(request):
    """Makes campaigns on each scheduler in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def wait_for():
    """Waits until a condition holds; `what` names the awaited event."""

    def wait(condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            time.sleep(0.02)

    return wait


@pytest.fixture
def long_trials():
    """Settings of trials that go on for longer than any test; an epoch takes a moment."""
    return {
        "training__warmup_epochs": [5000],
        "training__epochs": 5000,
        "training__patience": 5000,
        "training__max_patience": 5000,
        "training__simulated_epoch_seconds": 0.1,
    }


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def slow():
    scheduler = SlowScheduler()
    yield scheduler
    scheduler.go_on.set()


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def open_controller(campaign, scheduler, warnings):
    """Opens a controller of one campaign, which lasts nine hours and polls every 10 ms; each call closes the last."""
    opened, made = [], []

    def open_controller(using=scheduler, first=(), **changes):
        if opened:
            opened.pop().close()
        if not made:
            settings = {"campaign__duration": "9h", "campaign__max_trials": 9, "campaign__concurrency": 1}
            settings["scheduler__poll_interval"] = "10ms"
            made.append(campaign(**settings | changes))
            if first:  # a trial that is over, of an earlier controller
                made[0].trial(0, first)
        opened.append(Controller(made[0].directory, using, resume=True, warn=warnings.append))
        opened[0].builder = made[0]
        return opened[0]

    yield open_controller
    for controller in opened:
        controller.close()


@pytest.fixture
def make_agents_campaign(make_campaign):
    """Makes campaigns on agents, of which `start_agent` starts one with two slots; they end with the test."""
    with ExitStack() as started:

        def make(name="campaign", **changes):
            campaign = make_campaign(name, **AGENTS | changes)
            campaign.controller = lambda **options: Controller(
                campaign.directory,
                make_trial_scheduler(campaign.directory),
                **{"resume": True} | options,
                warn=campaign.warnings.append,
            )
            campaign.start_agent = lambda slots=2: started.enter_context(
                RunningAgent(campaign.directory, "--slots", str(slots))
            )
            return campaign

        yield make
