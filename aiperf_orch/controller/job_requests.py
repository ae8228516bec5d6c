"""The job request of an attempt: name, folders, command, time limit, excluded nodes and dependency."""

from __future__ import annotations

from collections.abc import Iterable

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.failure_policy import excluded_nodes
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.schedulers.base import JobRequest, array_element, trial_command
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import TransientError
from aiperf_orch.util.units import now


def make_requests(
    directory: CampaignDirectory, state: CampaignState, attempts: Iterable[AttemptState]
) -> list[JobRequest]:
    """Make the folders of attempts' jobs, and return their requests, by the settings in force and the drained nodes.

    Raises:
        TransientError: When a folder cannot be made for now.
    """
    requests = []
    for attempt in attempts:
        try:
            requests.append(make_request(directory, state, attempt))
        except OSError as error:
            raise TransientError(f"{error.filename}: cannot be made: {error.strerror}") from error
        attempt.outdated = attempt.nodes_changed = False
    return requests


def make_request(directory: CampaignDirectory, state: CampaignState, attempt: AttemptState) -> JobRequest:
    """Make the folders of an attempt's job, and return its request."""
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
        time_limit=time_limit(directory.settings, state),
        exclude=excluded_nodes(state.node_failures, state.trials[attempt.trial]),
        drained=tuple(state.drained.entries),
        after=leader_job(state, attempt),
        spec=directory.spec(attempt.trial),
        spec_sha256=state.trials[attempt.trial].spec_sha256,
    )


def leader_job(state: CampaignState, attempt: AttemptState) -> str | None:
    """Id of the job that must end before the attempt's job may start; None where it need not wait, or no longer."""
    if attempt.after is None:
        return None
    return next((leader.job for leader in state.live.values() if leader.name == attempt.after), None)


def time_limit(settings: SiteSettings, state: CampaignState) -> float | None:
    """Seconds that a job submitted now may take: what is left of the campaign, and the time to end its trial.

    None for a scheduler without time limits.
    """
    scheduler = settings.scheduler
    if not isinstance(scheduler, ClusterSettings):
        return None
    duration = settings.campaign.duration
    deadline = state.deadline(duration)
    # the campaign is measured from the first begin of any trial, so that the first job, too, ends within it
    left = duration if deadline is None else max((deadline - now()).total_seconds(), 0.0)
    return min(scheduler.time_limit, left + scheduler.stop_grace + scheduler.warn_before)
