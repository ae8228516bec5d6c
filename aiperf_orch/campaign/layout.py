"""Where each file of a campaign lies, under which name: the only place that knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of a campaign's files, whether there is a campaign or not."""

    path: Path

    @classmethod
    def of_spec(cls, spec: Path) -> Layout:
        """The layout of the campaign that a trial's specification lies in."""
        return cls(spec.resolve().parent.parent)

    @property
    def config_file(self) -> Path:
        """The frozen settings."""
        return self.path / "campaign.yaml"

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """The controller's lock."""
        return self.path / "controller.lock"

    @property
    def controller_log(self) -> Path:
        """What a controller in the background says."""
        return self.path / "controller.log"

    @property
    def stop_request(self) -> Path:
        """A file that asks the controller to stop."""
        return self.path / "stop.request"

    @property
    def leaderboard(self) -> Path:
        """One row a trial."""
        return self.path / "leaderboard.csv"

    @property
    def result(self) -> Path:
        """One row: the campaign's result."""
        return self.path / "result.csv"

    @property
    def series(self) -> Path:
        """The result over time."""
        return self.path / "series.csv"

    @property
    def report(self) -> Path:
        """The result for people."""
        return self.path / "report.html"

    @property
    def accounting(self) -> Path:
        """What the queue's own accounting says of our jobs, where it keeps any: a JSON object a line."""
        return self.path / "accounting.jsonl"

    @property
    def data_index(self) -> Path:
        """The listing of the data set, which the first trial makes."""
        return self.path / "data.index"

    def spec(self, trial: int) -> Path:
        """A trial's specification."""
        return self.path / "trials" / f"{trial:05d}.json"

    def events(self, trial: int, attempt: int, run: int) -> Path:
        """The events of one run of an attempt."""
        return self.path / "events" / f"{trial:05d}-{attempt}.{run}.jsonl"

    def job_folder(self, trial: int, attempt: int) -> Path:
        """Script, log and submitit's files of an attempt."""
        return self.path / "jobs" / f"{trial:05d}-{attempt}"

    def array_folder(self, array: str) -> Path:
        """Script of an array of jobs; each element has a folder of its own."""
        return self.path / "jobs" / array

    def log(self, trial: int, attempt: int) -> Path:
        """The output of an attempt's job."""
        return self.job_folder(trial, attempt) / "log"

    def telemetry(self, trial: int, attempt: int, node: str) -> Path:
        """What a node did while an attempt ran on it."""
        return self.job_folder(trial, attempt) / f"telemetry-{node}.jsonl"

    def rendezvous_file(self, trial: int, attempt: int) -> Path:
        """Where the first task of an attempt on several nodes says that it listens."""
        return self.job_folder(trial, attempt) / "meeting.json"

    def weights(self, trial: int) -> Path:
        """A trial's best weights."""
        return self.path / "weights" / f"{trial:05d}.safetensors"

    def checkpoint(self, trial: int) -> Path:
        """What a trial's next attempt goes on from; deleted at the trial's end."""
        return self.path / "weights" / f"{trial:05d}.checkpoint"
