"""What is asked of the scheduler for an attempt: its name, its folders, its time limit, the nodes that it must not get."""

from __future__ import annotations

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Attempt, CampaignState
from aiperf_orch.config_schedulers import ClusterSettings
from aiperf_orch.controller.policy import NODE_FAILURES
from aiperf_orch.schedulers.base import JobRequest, array_element, trial_command
from aiperf_orch.units import now


def make_request(directory: CampaignDirectory, state: CampaignState, attempt: Attempt) -> JobRequest:
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
        exclude=_nodes_to_avoid(state, attempt),
    )


def wave_names(directory: CampaignDirectory, first: int, number: int, array_limit: int) -> dict[int, str]:
    """Names of the first attempts of `number` trials from `first` on, as elements of arrays; none without arrays."""
    if array_limit < 2:
        return {}
    starts = range(first, first + number, array_limit)
    return {
        start + index: f"{directory.array_name(start)}[{index}]"
        for start in starts
        for index in range(min(array_limit, first + number - start))
    }


def _time_limit(directory: CampaignDirectory, state: CampaignState) -> float | None:
    """Seconds that a job submitted now may take: no longer than the campaign, and time to end its trial."""
    scheduler = directory.settings.scheduler
    if not isinstance(scheduler, ClusterSettings):
        return None
    deadline = state.deadline(directory.settings.campaign.duration)
    if deadline is None:
        return scheduler.time_limit
    left = max((deadline - now()).total_seconds(), 0.0)
    return min(scheduler.time_limit, left + scheduler.stop_grace + scheduler.warn_before)


def _nodes_to_avoid(state: CampaignState, attempt: Attempt) -> tuple[str, ...]:
    """Nodes that failed two trials, and those that this trial failed on."""
    failed = {node for node, trials in state.node_failures.items() if len(trials) >= NODE_FAILURES}
    for before in state.trials[attempt.trial].attempts:
        failed |= before.suspects
    return tuple(sorted(failed))
