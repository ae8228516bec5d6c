"""Paths of a campaign's files: the only module that knows under which name each of them lies.

The files inside a job's folder that the schedulers write have their names in `util/job_files`, which submitit's plugin
can import alone. A package repeats the campaign's names; its members of its own are named in `package/reading`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from aiperf_orch.util.job_files import LOG, SCRIPT

_TRIALS: Final = "trials"
_EVENTS: Final = "events"
_JOBS: Final = "jobs"
_WEIGHTS: Final = "weights"
_AGENTS: Final = "agents"
_REQUESTS: Final = "requests"
FOLDERS: Final = (_TRIALS, _EVENTS, _JOBS, _WEIGHTS)
"""Folders of a campaign directory."""


@dataclass(frozen=True)
class Layout:
    """Paths of a campaign's files, whether the campaign exists or not."""

    path: Path

    @classmethod
    def of_spec(cls, spec: Path) -> Layout:
        """The layout of the campaign that a trial's specification lies in."""
        return cls(spec.resolve().parent.parent)

    @property
    def config_file(self) -> Path:
        """The settings, frozen and complete, with the origin of each, and the campaign's tag and salt."""
        return self.path / "campaign.yaml"

    @property
    def plan(self) -> Path:
        """The plan that the campaign was made with, until the journal has it; most campaigns have none."""
        return self.path / ".plan.json"  # hidden: until campaign.yaml exists, a remainder that may be replaced

    @cached_property
    def journal(self) -> Path:
        """The journal: decisions of the controller, append-only; each line has the SHA-256 of the one before it."""
        return self.path / "journal.jsonl"

    @property
    def saved_state(self) -> Path:
        """What follows from the journal up to one of its lines, for `status`; it may be deleted at any time."""
        return self.path / "journal.snapshot"

    @property
    def lock(self) -> Path:
        """The controller that holds the campaign."""
        return self.path / "controller.lock"

    @property
    def controller_log(self) -> Path:
        """The output of a controller in the background."""
        return self.path / "controller.log"

    @property
    def metrics(self) -> Path:
        """Metrics for a site's monitoring, in OpenMetrics, replaced each minute by the controller."""
        return self.path / "metrics.prom"

    @property
    def stop_request(self) -> Path:
        """A file that asks the controller to stop."""
        return self.path / "stop.request"

    @property
    def changed_settings(self) -> Path:
        """The settings that were changed since the campaign was made, as the journal has them."""
        return self.path / "settings.changed"

    @property
    def requests_folder(self) -> Path:
        """Folder of requests to the controller and of its answers; it does not exist where none was made."""
        return self.path / _REQUESTS

    def request(self, name: str) -> Path:
        """A request to the controller."""
        return self.requests_folder / f"{name}.json"

    def answer(self, name: str) -> Path:
        """The controller's answer to a request."""
        return self.requests_folder / f"{name}.answer.json"

    @property
    def commitment(self) -> Path:
        """The hash that commits the campaign to its settings and its begin: a line of text."""
        return self.path / "commitment.txt"

    @property
    def leaderboard(self) -> Path:
        """Table with a row for each trial, in the order of the error."""
        return self.path / "leaderboard.csv"

    @property
    def result(self) -> Path:
        """Table with one row: the campaign's result."""
        return self.path / "result.csv"

    @property
    def series(self) -> Path:
        """Table of the result over time."""
        return self.path / "series.csv"

    @property
    def nodes(self) -> Path:
        """Table with a row for each node: its speed relative to the others, and its failures."""
        return self.path / "nodes.csv"

    @property
    def report(self) -> Path:
        """The report for readers: one page that loads nothing and runs no script."""
        return self.path / "report.html"

    @property
    def accounting(self) -> Path:
        """The scheduler's accounting of the campaign's jobs, where there is any: a JSON object on each line."""
        return self.path / "accounting.jsonl"

    @property
    def meter_series(self) -> Path:
        """Readings of an energy meter outside of the nodes, which `meter` has imported."""
        return self.path / "meter.csv"

    @property
    def meter_facts(self) -> Path:
        """What the site states of that meter, and the SHA-256 of its readings."""
        return self.path / "meter.json"

    @property
    def data_index(self) -> Path:
        """The listing of ImageNet, which the first trial makes."""
        return self.path / "data.index"

    @property
    def read_slots_folder(self) -> Path:
        """Folder of the nodes that copy packed data at present; it does not exist where none does."""
        return self.path / "read-slots"

    @staticmethod
    def read_slot(folder: Path, slot: int, lease: int) -> Path:
        """A lease of a slot for copying packed data; the one with the highest number counts."""
        return folder / f"{slot:05d}.{lease}"

    @cached_property
    def specs_folder(self) -> Path:
        """Folder of all trial specifications."""
        return self.path / _TRIALS

    @cached_property
    def events_folder(self) -> Path:
        """Folder of all events files, which trials write."""
        return self.path / _EVENTS

    @cached_property
    def jobs_folder(self) -> Path:
        """Folder of all jobs' folders: scripts, logs, telemetry."""
        return self.path / _JOBS

    @property
    def weights_folder(self) -> Path:
        """Folder of weights and checkpoints, of which only `package --weights` lets any leave the machine."""
        return self.path / _WEIGHTS

    @property
    def agents_folder(self) -> Path:
        """Folder with a folder for each agent; it does not exist in a campaign without agents."""
        return self.path / _AGENTS

    @property
    def controller_heartbeat(self) -> Path:
        """The controller's sign of life, for agents that wait for orders."""
        return self.agents_folder / "controller"

    def agent_folder(self, agent: str) -> Path:
        """Folder of an agent, created by it."""
        return self.agents_folder / agent

    def agent_log(self, agent: str) -> Path:
        """What an agent writes: its begin, the starts and exits of attempts, its end."""
        return self.agent_folder(agent) / "agent.jsonl"

    def agent_orders(self, agent: str) -> Path:
        """What the controller writes for an agent."""
        return self.agent_folder(agent) / "orders.jsonl"

    def agent_heartbeat(self, agent: str) -> Path:
        """An agent's sign of life, overwritten in place."""
        return self.agent_folder(agent) / "heartbeat"

    def allocation_folder(self, allocation: str) -> Path:
        """Folder with the script, the log and submitit's files of the job of an allocation, which holds many trials."""
        return self.jobs_folder / allocation

    def spec(self, trial: int) -> Path:
        """A trial's specification: network, parent and edits, hyperparameters, recipe."""
        return self.specs_folder / f"{trial:05d}.json"

    def events(self, trial: int, attempt: int, run: int) -> Path:
        """The events of one run of an attempt: its begin, every epoch, its end."""
        return self.events_folder / f"{trial:05d}-{attempt}.{run}.jsonl"

    def job_folder(self, trial: int, attempt: int) -> Path:
        """Folder with the script, the log and submitit's files of an attempt's job."""
        return self.jobs_folder / f"{trial:05d}-{attempt}"

    def array_folder(self, array: str) -> Path:
        """Folder with the script of an array of jobs, or of retries; each element has a folder of its own."""
        return self.jobs_folder / array

    @staticmethod
    def script_in(folder: Path) -> Path:
        """The batch script in the folder of a job or an array."""
        return folder / SCRIPT

    def log(self, trial: int, attempt: int) -> Path:
        """The log of an attempt: standard output and standard error of its job."""
        return self.job_folder(trial, attempt) / LOG

    def telemetry(self, trial: int, attempt: int, node: str) -> Path:
        """Measurements of a node while an attempt ran on it.

        A line every 5 s: use of its cores and memory; use, memory, power (W), temperature and slowdowns of each
        accelerator; network, disks, power of the node; energy in joules; null where not known. At most 12 h: 2.4 MB,
        and 1 MB for each accelerator.
        """
        return self.job_folder(trial, attempt) / f"telemetry-{node}.jsonl"

    def rendezvous_file(self, trial: int, attempt: int) -> Path:
        """The address on which rank 0 of an attempt on several nodes listens."""
        return self.job_folder(trial, attempt) / "meeting.json"

    def weights(self, trial: int) -> Path:
        """A trial's best weights, while they can be inherited, or its error is the lowest one."""
        return self.weights_folder / f"{trial:05d}.safetensors"

    def checkpoint(self, trial: int) -> Path:
        """State from which a trial's next attempt continues; deleted at the trial's end."""
        return self.weights_folder / f"{trial:05d}.checkpoint"


MEMBERS: Final = Layout(Path())
"""Paths relative to the campaign directory: the names of a package's files, also in messages."""
