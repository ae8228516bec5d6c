"""Collects the epochs that count from a campaign's records, and what is wrong with those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import RunEvents, count_epochs, read_attempt
from aiperf_orch.campaign.state import Attempt, CampaignState, Trial
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
    """Read the events of every attempt.

    Of an attempt that has ended, what counts is what the controller saw when it ended: the part of its events whose
    size and SHA-256 stand in the journal.
    """
    faults: list[str] = []
    read: list[tuple[Trial, list[Begin], list[Epoch]]] = []
    for trial in state.trials.values():
        runs = [run for attempt in trial.attempts for run in _runs(directory, trial, attempt, faults)]
        begins = [run.begin for run in runs if run.begin]
        read.append((trial, begins, [epoch for run in runs for epoch in run.epochs]))
    times = [begin.time for _, begins, _ in read for begin in begins]
    start = min([*times, *([state.first_begin] if state.first_begin else [])], default=None)
    deadline = state.deadline(directory.settings.campaign.duration)
    trials = [
        TrialRecords(trial, begins, list(count_epochs(epochs, deadline).values())) for trial, begins, epochs in read
    ]
    return Collected(trials, start, faults)


def _runs(directory: CampaignDirectory, trial: Trial, attempt: Attempt, faults: list[str]) -> Iterator[RunEvents]:
    planned = directory.settings.training.epochs_of_round(trial.proposal.round)
    operations = trial.proposal.operations
    if attempt.end is None:
        for events in read_attempt(directory, attempt.trial, attempt.attempt, operations, planned):
            faults.extend(events.faults)
            yield events
        return
    for file in attempt.end.files:
        path = directory.events(attempt.trial, attempt.attempt, file.run)
        events = RunEvents(path, attempt.trial, attempt.attempt, file.run, operations, planned)
        events.poll(limit=file.size)
        if events.recorded() == file:
            faults.extend(events.faults)
            yield events
        else:
            faults.append(f"{path}: is not what the journal recorded when the attempt ended: none of it counts")
