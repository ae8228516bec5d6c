"""Events of a trial that count, by the journal's entries of its attempts; shared by the controller and the score."""

from __future__ import annotations

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import LineFault, RunEvents, TrialPlan, read_attempt
from aiperf_orch.campaign.trial_state import AttemptState, TrialState


def trial_plan(directory: CampaignDirectory, trial: TrialState) -> TrialPlan:
    """Operations, epochs and digest that a trial's events must match, without opening its specification."""
    epochs = directory.settings.training.epochs_of_round(trial.proposal.round)
    return TrialPlan(trial.proposal.operations, epochs, trial.spec_sha256)


def counted_runs(
    directory: CampaignDirectory, trial: TrialState, attempt: AttemptState
) -> tuple[list[RunEvents], list[LineFault]]:
    """Runs of an attempt that count, and faults that name file and line.

    Of an ended attempt the events count that the controller had read when it ended: those whose size and SHA-256 stand
    in the journal. Events that its job wrote later do not count.

    Raises:
        TransientError: when a file cannot be read for now.
    """
    planned = trial_plan(directory, trial)
    if attempt.end is None:
        live = read_attempt(directory, attempt.trial, attempt.attempt, planned)
        return live, [fault for run in live for fault in run.faults]
    runs: list[RunEvents] = []
    faults: list[LineFault] = []
    for file in attempt.end.files:
        path = directory.events(attempt.trial, attempt.attempt, file.run)
        events = RunEvents(path, attempt.trial, attempt.attempt, file.run, planned, directory.read)
        events.poll(limit=file.size)
        if events.recorded() == file:
            runs.append(events)
            faults += events.faults
        elif not events.claimed:
            why = f"is missing: the journal recorded {file.size} bytes of it when the attempt ended"
            faults.append(LineFault.at("events.missing", path, why))
        else:
            why = "is not what the journal recorded when the attempt ended: none of it counts"
            faults.append(LineFault.at("events.hash", path, why))
    return runs, faults
