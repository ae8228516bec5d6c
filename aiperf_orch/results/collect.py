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
    """One trial: its begin lines, its epochs that count, in order, and when its runs were at work.

    A run is at work from its begin line to its end line; one that wrote none, to the end of its last epoch.
    """

    trial: Trial
    begins: list[Begin]
    epochs: list[Epoch]
    at_work: list[tuple[datetime, datetime]]


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
    read: list[tuple[Trial, list[RunEvents]]] = []
    for trial in state.trials.values():
        runs: list[RunEvents] = []
        for attempt in trial.attempts:
            counted, faulty = counted_runs(directory, trial, attempt)
            runs += counted
            faults += faulty
        read.append((trial, runs))
    times = [run.begin.time for _, runs in read for run in runs if run.begin]
    start = min([*times, *([state.first_begin] if state.first_begin else [])], default=None)
    deadline = start + timedelta(seconds=directory.settings.campaign.duration) if start else None
    return Collected([_records(trial, runs, deadline) for trial, runs in read], start, faults)


def _records(trial: Trial, runs: list[RunEvents], deadline: datetime | None) -> TrialRecords:
    counted = count_epochs((epoch for run in runs for epoch in run.epochs), deadline)
    at_work = []
    for run in runs:
        last = run.end.time if run.end else max((epoch.end for epoch in run.epochs), default=None)
        if run.begin and last:
            at_work.append((run.begin.time, last))
    return TrialRecords(trial, [run.begin for run in runs if run.begin], list(counted.values()), at_work)
