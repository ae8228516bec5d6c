"""`status`: how a campaign and its trials stand, from its journal and the events of what runs; changes nothing."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.consistency import read_state
from aiperf_orch.campaign.counted_epochs import counted_runs, trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import best_epoch, count_epochs
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_duration, format_time, now

_SHORT: Final = 60  # characters; CSV and JSON have all
_LATEST: Final = 20  # trials that are over, in the table
_SUSPENSIONS: Final = {
    "SUSPENDED": "suspended for another job or by an administrator: `scontrol resume` lets it go on",
    "STOPPED": "stopped by a signal, its nodes are kept: SIGCONT lets it go on",
}
"""Slurm's words of jobs that stand still, for people."""


def status(campaign_dir: Path, form: str) -> str:
    """A row a trial; as a table with a heading, and of what is over the latest; as JSON within an object of the campaign."""
    directory = CampaignDirectory.open(campaign_dir)
    state = read_state(directory)
    queued, trouble = _ask_queue(directory, state)
    asked, queued = queued is not None, queued or {}
    over = [trial.trial for trial in state.trials.values() if trial.end]
    left_out = set(over[:-_LATEST]) if form == "table" else set()
    rows = [
        _row(directory, state, trial, queued.get(trial.attempts[-1].name), asked=asked)
        for trial in state.trials.values()
        if trial.trial not in left_out
    ]
    if form == "csv":
        return render_rows(rows, form)
    heading = _heading(directory, state, rows) | ({"queue": trouble} if trouble else {})
    if form == "json":
        return json.dumps(heading | {"trials": rows}, indent=2) + "\n"
    shown = {
        "campaign": heading["campaign"],
        "state": ": ".join(filter(None, [heading["state"], heading["reason"]])),
        "simulated": "yes: no training takes place" if heading["simulated"] else None,
        "controller": heading["controller"],
        "queue": heading.get("queue"),
        "began": heading["began"],
        "deadline": heading["deadline"],
        "remaining": None if heading["remaining"] is None else format_duration(heading["remaining"]),
        "best error": None if heading["best_error"] is None else f"{heading['best_error']:.2%}",
        "trials": _counts(state, left_out, rows),
    }
    for row in rows:
        row["error"] = None if row["error"] is None else f"{row['error']:.2%}"
        row["network"] = row["network"][:8]
        row["why"] = row["why"] and textwrap.shorten(row["why"], _SHORT, placeholder=" …")
    lines = [f"{key:<11}{visible(str(value))}\n" for key, value in shown.items() if value is not None]
    if left_out:
        lines.append(f"{'':<11}below, of those that are over, the latest {_LATEST}: --format csv has all\n")
    return "".join(lines) + ("\n" + render_rows(rows, form) if rows else "no trials yet\n")


def _counts(state: CampaignState, left_out: Collection[int], rows: Iterable[Mapping[str, Any]]) -> str | None:
    """How many trials there are, by state."""
    ends = (state.trials[trial].end for trial in left_out)
    counts = Counter([*(end.reason.value for end in ends if end), *(row["state"] for row in rows)])
    return ", ".join(f"{number:,} {name}" for name, number in counts.most_common()) or None


def _heading(directory: CampaignDirectory, state: CampaignState, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The campaign as a whole, for programs: times in UTC, `remaining` in seconds, errors as fractions."""
    deadline = state.deadline(directory.settings.campaign.duration)
    holder = read_holder(directory.lock)
    alive = holder.alive() if holder else False
    controller = {True: "alive", False: "none", None: holder.location if holder else ""}[alive]
    if holder and alive is not False:
        controller += f": process {holder.pid} on {holder.host}"
    errors = [state.best_error, *(row["error"] for row in rows)]
    remaining = None
    if deadline is not None and state.phase is not Phase.FINISHED:
        remaining = max(int((deadline - now()).total_seconds()), 0)
    return {
        "campaign": str(directory.path),
        "state": state.phase.value,
        "reason": state.phase_reason or None,
        "simulated": directory.settings.simulated,
        "controller": controller,
        "began": format_time(state.first_begin) if state.first_begin else None,
        "deadline": format_time(deadline) if deadline else None,
        "remaining": remaining,
        "best_error": min((error for error in errors if error is not None), default=None),
    }


def _ask_queue(directory: CampaignDirectory, state: CampaignState) -> tuple[Mapping[str, JobStatus] | None, str | None]:
    """What a batch system's queue says of all live jobs, in one question; None, and why, when it could not be asked."""
    settings = directory.settings.scheduler
    names = [attempt.name for attempt in state.live.values()]
    if not names or not isinstance(settings, ClusterSettings):
        return None, None
    try:
        return make_scheduler(settings).query(names), None
    except SchedulerUnreachableError as error:
        return None, f"could not be asked: {error}"


def _row(
    directory: CampaignDirectory, campaign: CampaignState, trial: TrialState, queued: JobStatus | None, *, asked: bool
) -> dict[str, Any]:
    """One trial; `queued` is what the queue says of its job, None when it does not know it."""
    last = trial.attempts[-1]
    planned = trial_plan(directory, trial).epochs
    hosts = last.began.hosts if last.began else []
    if last.end:
        epochs, error = last.end.epochs, last.end.best_error  # those of the whole trial
        state, why = last.end.reason.value, last.end.message
        if trial.end is None and campaign.phase is not Phase.FINISHED:
            state, why = "RETRY", ": ".join(filter(None, [state, why]))
    else:
        runs = [run for attempt in trial.attempts for run in counted_runs(directory, trial, attempt)[0]]
        own = [run for run in runs if run.attempt == last.attempt]
        hosts = next((run.begin.hosts for run in reversed(own) if run.begin), hosts)
        deadline = campaign.deadline(directory.settings.campaign.duration)
        counted = count_epochs((epoch for run in runs for epoch in run.epochs), deadline)
        best = best_epoch(counted.values())
        epochs, error = len(counted), best.error if best else None
        if own and own[-1].end:
            ended = ": ".join(filter(None, [own[-1].end.reason.value, own[-1].end.message]))
            state, why = "ENDED", f"{ended}; not recorded by a controller yet"
        else:
            state, why = live_state(last, queued, begun=bool(hosts), asked=asked)
    return {
        "trial": trial.trial,
        "state": state,
        "epoch": f"{epochs}/{planned}",
        "error": error,
        "network": trial.proposal.network_hash,
        "parent": trial.proposal.parent,
        "attempts": len(trial.attempts),
        "job": last.job,
        "host": " ".join(hosts) if hosts and state != "PENDING" else None,
        "why": why or None,
    }


def live_state(attempt: AttemptState, queued: JobStatus | None, *, begun: bool, asked: bool) -> tuple[str, str]:
    """The state of an attempt that has not ended, by its events and the queue, and why it does not run, if it does not.

    Args:
        attempt: the attempt.
        queued: what the queue says of its job; None when it does not list it, or was not asked.
        begun: whether it has written a begin line.
        asked: whether the queue was asked, and answered.
    """
    known = "RUNNING" if begun else "SUBMITTED"
    if queued is None:
        state, why = known, "the queue does not list its job" if begun and asked else ""
    elif queued.state is JobState.ENDED:
        state, why = known, ": ".join(filter(None, ["its job has ended", queued.detail]))
    elif queued.state is JobState.PENDING:
        again = "is in the queue again" if begun else ""
        state, why = "PENDING", ", ".join(filter(None, [again, queued.detail]))
    elif queued.suspended:
        state, why = "SUSPENDED", _SUSPENSIONS.get(queued.detail, queued.detail)
    else:
        state, why = known, queued.detail
    if attempt.cancelling:
        told = f"was told to end: {attempt.cancelling.value}"
        return "ENDING", ", ".join(filter(None, [told, why]))
    return state, why
