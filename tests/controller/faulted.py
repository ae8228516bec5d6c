"""Faulted campaigns: one that a process of its own runs, seen from outside, and the faults of its batch system."""

import signal
import subprocess
import sys
import time

import yaml

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState

PATIENCE = 800  # seconds; some 60 on an idle machine


def faulted_settings(scheduler, *, concurrency, trials, epoch_seconds):
    """Site settings of a faulted campaign with short simulated trials; `scheduler` adds to its section."""
    times = {
        "time_limit": "10m",
        "poll_interval": "200ms",
        "query_interval": "1s",
        "silent_after": "1s",
        "lost_after": "2s",
        "stop_grace": "30s",
    }
    return {
        "scheduler": times | scheduler,
        "campaign": {
            "duration": "1h",
            "concurrency": concurrency,
            "max_trials": trials,
            "max_attempts": 9,
            "seed": 7,
        },
        "network": {"max_layers": 60},
        "training": {
            "trainer": "simulated",
            "warmup_epochs": [4],
            "epochs": 4,
            "patience": 9,
            "simulated": {"epoch_seconds": epoch_seconds},
        },
    }


class OnSlurm:
    """Faults of a real Slurm cluster."""

    scheduler = {"kind": "slurm", "cpus_per_task": 1, "memory": "200M", "exclusive": True}
    concurrency = 2

    def __init__(self, cluster):
        self._cluster = cluster

    def lose_node(self, name):
        self._cluster.kill_node(name)
        self._cluster.down(name)  # Slurm would find out within minutes

    def bring_back(self, name):
        self._cluster.start_node(name)

    def cancel(self, job):
        self._cluster.run("scancel", job, check=False)

    def stop_server(self):
        self._cluster.stop_controller()

    def start_server(self):
        self._cluster.start_controller()

    def jobs(self):
        return self._cluster.alive_jobs()


class OnPbs:
    """Faults of the PBS stand-in."""

    scheduler = {"kind": "pbs", "cpus": 4}
    concurrency = 3

    def __init__(self, instance):
        self._instance = instance

    def lose_node(self, name):
        self._instance.node_down(name)

    def bring_back(self, name):
        self._instance.node_up(name)

    def cancel(self, job):
        self._instance.run("qdel", job)

    def stop_server(self):
        self._instance.stop_server()

    def start_server(self):
        self._instance.start_server()

    def jobs(self):
        return [line for line in self._instance.run("qstat").stdout.splitlines() if line[:1].isdigit()]


class ObservedCampaign:
    """A campaign that is run by a process of its own, seen from outside through its files."""

    def __init__(self, folder, settings, environment=None):
        self._environment = environment
        self.path = folder / "campaign"
        self._site = folder / "site.yaml"
        self._site.write_text(yaml.safe_dump(settings))
        self._log_file = folder / "controller.log"
        self._log = self._log_file.open("ab")
        self._deadline = time.monotonic() + PATIENCE
        self.start()

    def start(self):
        command = [sys.executable, "-m", "aiperf_orch.cli", "run", self._site, "--campaign-dir", self.path, "--yes"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env=self._environment
        )

    def kill(self):
        """kill -9 of the controller, wherever it stands, and another one."""
        assert self.process.poll() is None, self.said()
        self.process.kill()
        self.process.wait()
        self.start()

    def said(self):
        return self._log_file.read_text(errors="replace")[-3000:]

    @property
    def state(self):
        return CampaignState.of(read_journal(CampaignDirectory.open(self.path).journal))

    def wait_for(self, condition, what):
        """Wait until `condition` holds of the campaign's state; returns its result. `what` names the awaited event."""
        while True:
            found = condition(self.state) if (self.path / "campaign.yaml").exists() else None
            if found:
                return found
            assert time.monotonic() < self._deadline, f"not within {PATIENCE} s: {what}\n{self.said()}"
            assert self.process.poll() is None, f"the controller ended before {what}\n{self.said()}"
            time.sleep(0.2)

    def wait_for_ends(self, number):
        self.wait_for(lambda state: state.trials_ended >= number, f"the end of {number} trials")

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)
        self._log.close()
