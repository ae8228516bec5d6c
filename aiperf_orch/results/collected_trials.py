"""Collection of the epochs that count, and of faults in the records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from operator import attrgetter

from aiperf_orch.campaign.counted_epochs import counted_runs
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import LineFault, RunEvents, count_epochs
from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.records.events import Begin, End, Epoch
from aiperf_orch.util.errors import NewerVersionError
from aiperf_orch.util.progress import tracked


@dataclass(frozen=True)
class TrialRecords:
    """Begin lines, end lines and counted epochs of one trial, each in order.

    `uncounted` are the repetitions of epochs, and those that ended past the deadline.
    """

    trial: TrialState
    begins: list[Begin]
    epochs: list[Epoch]
    ends: list[End]
    uncounted: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class Collected:
    """Records of all trials of a campaign.

    Attributes:
        trials: in the order of their numbers.
        start: the first begin of any trial, including trials whose events do not count; None before the first begin.
        faults: one message, with file and line, for each record that does not count.
    """

    trials: list[TrialRecords]
    start: datetime | None
    faults: list[LineFault]

    @cached_property
    def epochs(self) -> list[Epoch]:
        """All epochs that count, sorted by their ends; epochs with equal ends are in the order of their trials."""
        return sorted((epoch for trial in self.trials for epoch in trial.epochs), key=attrgetter("end"))


def collect(directory: CampaignDirectory, state: CampaignState) -> Collected:
    """Read the events of every attempt, and keep those that count."""
    faults: list[LineFault] = []
    trials: list[TrialRecords] = []
    for trial in tracked(state.trials.values(), "reading events"):
        runs: list[RunEvents] = []
        for attempt in trial.attempts:
            attempt_runs, attempt_faults = counted_runs(directory, trial, attempt)
            runs += attempt_runs
            faults += attempt_faults
        begins = [run.begin for run in runs if run.begin]
        ends = [run.end for run in runs if run.end]
        epochs = [epoch for run in runs for epoch in run.epochs]
        trials.append(TrialRecords(trial, begins, epochs, ends))
    newer = next((fault for fault in faults if fault.kind == NEWER_VERSION), None)
    if newer is not None:  # what this version reads of it is not the campaign's result
        raise NewerVersionError(newer)
    trials, start = count_trials(trials, state.first_begin, timedelta(seconds=directory.settings.campaign.duration))
    return Collected(trials, start, faults)


def count_trials(
    trials: Iterable[TrialRecords], first_begin: datetime | None, duration: timedelta
) -> tuple[list[TrialRecords], datetime | None]:
    """Drop epochs that do not count: repetitions, and those that ended past the deadline.

    Args:
        trials: with all epochs of their attempts.
        first_begin: the first begin in the journal; begin lines of trials may be earlier.
        duration: time limit of the campaign, from the first begin.

    Returns:
        The trials with their counted epochs, and the first begin; None before it.
    """
    trials = list(trials)
    times = [begin.time for records in trials for begin in records.begins]
    if first_begin:
        times.append(first_begin)
    start = min(times, default=None)
    deadline = start + duration if start else None
    return [_counted(records, deadline) for records in trials], start


def _counted(records: TrialRecords, deadline: datetime | None) -> TrialRecords:
    counted = list(count_epochs(records.epochs, deadline).values())
    kept = set(map(id, counted))
    return replace(records, epochs=counted, uncounted=[epoch for epoch in records.epochs if id(epoch) not in kept])
