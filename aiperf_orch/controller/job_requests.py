"""What is asked of the scheduler for an attempt: its name, its folders, its time limit, the nodes that it must not get."""

from __future__ import annotations

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import AttemptState, CampaignState, TrialState
from aiperf_orch.controller.failure_policy import NODE_FAILURES
from aiperf_orch.schedulers.base import JobRequest, array_element, trial_command
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.units import now


def make_request(directory: CampaignDirectory, state: CampaignState, attempt: AttemptState) -> JobRequest:
    """The job of an attempt; makes its folders."""
    folder = directory.job_folder(*attempt.key)
    element = array_element(attempt.name)
    submit_folder = directory.array_folder(element[0]) if element else folder
    for each in (folder, submit_folder):
        each.mkdir(mode=0o700, exist_ok=True)
    return JobRequest(
        attempt.name,
        folder,
        submit_folder,
        directory.path,
        trial_command(
            directory.settings.scheduler.python, directory.spec(attempt.trial), attempt.attempt, attempt.submitted
        ),
        time_limit=_time_limit(directory, state),
        exclude=nodes_to_avoid(state, state.trials[attempt.trial]),
        after=_leader_job(state, attempt),
    )


def _leader_job(state: CampaignState, attempt: AttemptState) -> str | None:
    """The id of the job that must end before this attempt's may start; None where it need not wait, or no more."""
    if attempt.after is None:
        return None
    return next((leader.job for leader in state.live.values() if leader.name == attempt.after), None)


def _time_limit(directory: CampaignDirectory, state: CampaignState) -> float | None:
    """Seconds that a job submitted now may take: no longer than the campaign, and time to end its trial."""
    scheduler = directory.settings.scheduler
    if not isinstance(scheduler, ClusterSettings):
        return None
    duration = directory.settings.campaign.duration
    deadline = state.deadline(duration)
    # the campaign is counted from the first trial's begin, so that the canary, too, ends within it
    left = duration if deadline is None else max((deadline - now()).total_seconds(), 0.0)
    return min(scheduler.time_limit, left + scheduler.stop_grace + scheduler.warn_before)


def nodes_to_avoid(state: CampaignState, trial: TrialState) -> tuple[str, ...]:
    """Nodes that failed two trials, and those that this trial failed on."""
    failed = {node for node, trials in state.node_failures.items() if len(trials) >= NODE_FAILURES}
    for before in trial.attempts:
        failed |= before.suspects
    return tuple(sorted(failed))
