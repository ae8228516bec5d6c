"""Collects the epochs that count from a campaign's records, and what is wrong with those that do not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from aiperf_orch.campaign.counted import counted_runs
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import RunEvents, count_epochs
from aiperf_orch.campaign.state import CampaignState, Trial
from aiperf_orch.records import Begin, Epoch


@dataclass(frozen=True)
class TrialRecords:
    """One trial: its begin lines, and its epochs that count, in order."""

    trial: Trial
    begins: list[Begin]
    epochs: list[Epoch]


@dataclass(frozen=True)
class Collected:
    """All trials of a campaign. `start` is the first begin of any, also of one whose events cannot count.

    `faults` name file and line of what cannot count.
    """

    trials: list[TrialRecords]
    start: datetime | None
    faults: list[str]

    @property
    def epochs(self) -> list[Epoch]:
        """Every epoch that counts, by its end."""
        found = (epoch for trial in self.trials for epoch in trial.epochs)
        return sorted(found, key=lambda epoch: (epoch.end, epoch.trial, epoch.epoch))


def collect(directory: CampaignDirectory, state: CampaignState) -> Collected:
    """Read the events of every attempt, and keep what counts."""
    faults: list[str] = []
    read: list[tuple[Trial, list[Begin], list[Epoch]]] = []
    for trial in state.trials.values():
        runs: list[RunEvents] = []
        for attempt in trial.attempts:
            counted, faulty = counted_runs(directory, trial, attempt)
            runs += counted
            faults += faulty
        begins = [run.begin for run in runs if run.begin]
        read.append((trial, begins, [epoch for run in runs for epoch in run.epochs]))
    times = [begin.time for _, begins, _ in read for begin in begins]
    start = min([*times, *([state.first_begin] if state.first_begin else [])], default=None)
    deadline = start + timedelta(seconds=directory.settings.campaign.duration) if start else None
    trials = [
        TrialRecords(trial, begins, list(count_epochs(epochs, deadline).values())) for trial, begins, epochs in read
    ]
    return Collected(trials, start, faults)
