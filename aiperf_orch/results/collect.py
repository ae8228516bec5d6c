"""Collects the epochs that count from a campaign's records, and what is wrong with those that do not."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter

from aiperf_orch.campaign.counted_epochs import counted_runs
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import RunEvents, count_epochs
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.records.events import Begin, End, Epoch


@dataclass(frozen=True)
class TrialRecords:
    """One trial: its begin and end lines, and its epochs that count, in order."""

    trial: TrialState
    begins: list[Begin]
    epochs: list[Epoch]
    ends: list[End]


@dataclass(frozen=True)
class Collected:
    """All trials of a campaign. `start` is the first begin of any, also of one whose events cannot count.

    `faults` name file and line of what cannot count.
    """

    trials: list[TrialRecords]
    start: datetime | None
    faults: list[str]

    @cached_property
    def epochs(self) -> list[Epoch]:
        """Every epoch that counts, by its end; of equal ends in the order of the trials."""
        return sorted((epoch for trial in self.trials for epoch in trial.epochs), key=attrgetter("end"))


def collect(directory: CampaignDirectory, state: CampaignState) -> Collected:
    """Read the events of every attempt, and keep what counts."""
    faults: list[str] = []
    read: list[TrialRecords] = []
    for trial in state.trials.values():
        runs: list[RunEvents] = []
        for attempt in trial.attempts:
            counted, faulty = counted_runs(directory, trial, attempt)
            runs += counted
            faults += faulty
        begins = [run.begin for run in runs if run.begin]
        ends = [run.end for run in runs if run.end]
        epochs = [epoch for run in runs for epoch in run.epochs]
        read.append(TrialRecords(trial, begins, epochs, ends))
    times = [begin.time for records in read for begin in records.begins]
    start = min([*times, *([state.first_begin] if state.first_begin else [])], default=None)
    deadline = start + timedelta(seconds=directory.settings.campaign.duration) if start else None
    trials = [replace(records, epochs=list(count_epochs(records.epochs, deadline).values())) for records in read]
    return Collected(trials, start, faults)
