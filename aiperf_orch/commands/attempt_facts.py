"""Facts to examine an attempt by: node, job, times, end reason, log, and the command that runs the trial again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiperf_orch.campaign.counted_epochs import counted_runs
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_time


def find_trial(directory: CampaignDirectory, state: CampaignState, trial: int) -> TrialState:
    """The trial with this number.

    Raises:
        UsageError: When the campaign has no such trial; it names those that there are.
    """
    if trial in state.trials:
        return state.trials[trial]
    known = f"its trials are 0 to {max(state.trials)}" if state.trials else "it has no trials yet"
    raise UsageError(f"{directory.path}: has no trial {trial}: {known}")


def find_attempt(directory: CampaignDirectory, trial: TrialState, attempt: int | None) -> AttemptState:
    """The attempt with this number; the latest one for None.

    Raises:
        UsageError: When the trial has no such attempt; it says how many there are.
    """
    if attempt is None:
        return trial.attempts[-1]
    if 1 <= attempt <= len(trial.attempts):
        return trial.attempts[attempt - 1]
    raise UsageError(
        f"{directory.path}: trial {trial.trial} has no attempt {attempt}: it has {len(trial.attempts)}, from 1"
    )


def log_of(directory: CampaignDirectory, attempt: AttemptState) -> Path:
    """The log of an attempt, whether it exists or not."""
    return directory.log(attempt.trial, attempt.attempt)


def rerun_command(directory: CampaignDirectory, trial: int) -> str:
    """The command that runs a trial again."""
    return command_line(["trial", str(directory.spec(trial))])


def attempt_facts(directory: CampaignDirectory, trial: TrialState, attempt: AttemptState) -> dict[str, Any]:
    """Facts of an attempt by name; None where a fact is not known.

    Times are in UTC. `reason` and `message` are those of the end in the journal, or of the end line that no controller
    has recorded yet; `agent` is None where the attempt is a job of its own.

    Raises:
        TransientError: When its events cannot be read for now.
    """
    runs = counted_runs(directory, trial, attempt)[0]
    begin = next((run.begin for run in reversed(runs) if run.begin), None)
    end = attempt.end or next((run.end for run in reversed(runs) if run.end), None)
    ended = next((run.end.time for run in reversed(runs) if run.end), None)
    hosts = attempt.end.hosts if attempt.end else []
    hosts = hosts or (begin.hosts if begin else attempt.began.hosts if attempt.began else [])
    agent = begin.agent if begin else None
    return {
        "attempt": attempt.attempt,
        "node": " ".join(hosts) or None,
        "job": begin.job if begin else attempt.latest_job,
        "agent": agent,
        "submitted": format_time(attempt.submitted),
        "began": format_time(begin.time) if begin else None,
        "ended": format_time(ended) if ended else None,
        "reason": end.reason.value if end else None,
        "message": (end.message or None) if end else None,
        "log": str(log_of(directory, attempt)),
        "again": rerun_command(directory, attempt.trial),
    }


def failure_rows(directory: CampaignDirectory, state: CampaignState) -> list[dict[str, Any]]:
    """A row for each attempt that failed, in the order of their ends, from the journal alone."""
    failed = [state.trials[end.trial].attempts[end.attempt - 1] for end in state.ends if is_failure(end.reason)]
    return [_failure_row(directory, attempt, attempt.end) for attempt in failed if attempt.end]


def failure_line(directory: CampaignDirectory, attempt: AttemptState) -> str:
    """Where an attempt failed, its log, and the command that runs the trial again, in one line.

    Args:
        directory: The campaign.
        attempt: An attempt that has ended.
    """
    hosts = attempt.end.hosts if attempt.end else []
    where = f" on {' '.join(hosts)}" if hosts else ""
    job = f", job {attempt.latest_job}" if attempt.latest_job else ""
    again = rerun_command(directory, attempt.trial)
    return f"trial {attempt.trial} failed{where}{job}: log {log_of(directory, attempt)}; run it again: {again}"


def _failure_row(directory: CampaignDirectory, attempt: AttemptState, end: AttemptEnd) -> dict[str, Any]:
    return {
        "trial": attempt.trial,
        "attempt": attempt.attempt,
        "reason": end.reason.value,
        "retried": not end.final,
        "node": " ".join(end.hosts) or None,
        "job": attempt.latest_job,
        "log": str(log_of(directory, attempt)),
        "again": rerun_command(directory, attempt.trial),
        "why": end.message or None,
    }
