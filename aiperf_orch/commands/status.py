"""`status`: state of a campaign and its trials, from its journal, the events of running trials and the queue."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiperf_orch.campaign.counted_epochs import counted_runs, trial_plan
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.campaign.events import best_epoch, count_epochs
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.saved_state import RECENT, read_short_state
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptState, TrialState
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.remaining_time import estimated_seconds, progress_text
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.status_parts import UNREADABLE, campaign_rows, campaigns, campaigns_table
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.commands.workforce_status import WorkforceStatus, placement_of
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, TransientError
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import count, format_time, now

_MAX_REASON: Final = 60  # characters in the table; CSV and JSON have all
_MAX_CAMPAIGNS: Final = 20  # in the table
_MAX_BEST: Final = 10  # trials in the table of the lowest errors
_MAX_AT_WORK: Final = 40  # trials on agents in the table that run or wait for a slot
_AT_WORK: Final = ("RUNNING", "PENDING")
_SUSPENSIONS: Final = {
    "SUSPENDED": "suspended for another job or by an administrator: `scontrol resume` resumes it",
    "STOPPED": "stopped by a signal, its nodes are kept: SIGCONT resumes it",
}
"""Slurm's states of jobs that do not run although they have nodes, with an explanation."""


def show_campaigns(form: str) -> CommandOutput:
    """The campaigns under ./campaigns, and the newest one that can be read in full.

    CSV has a row for each campaign, JSON the rows and the newest campaign. The table has the latest 20.

    Raises:
        UsageError: When there is no campaign.
    """
    paths = campaigns()
    listed = paths[:_MAX_CAMPAIGNS] if form == "table" else paths
    rows = campaign_rows(listed)
    if form == "csv":
        return CommandOutput(render_rows(rows, form), form=form)
    readable = (path for path, row in zip(listed, rows, strict=True) if row["state"] != UNREADABLE)
    newest = next((show_status(path, form).text for path in readable), None)
    if form == "json":
        document = {"campaigns": rows, "newest": newest and json.loads(newest)}
        return CommandOutput(json.dumps(document, indent=2) + "\n", form=form)
    more = f"{len(paths) - len(listed):,} older ones: --format csv has all\n" if len(listed) < len(paths) else ""
    return CommandOutput("\n".join(filter(None, [campaigns_table(rows) + more, newest])))


def show_status(campaign_dir: Path, form: str, *, best: bool = False) -> CommandOutput:
    """State of the campaign, one row per trial; nothing is changed.

    A table has a heading and only the latest ended trials; JSON is an object of the campaign with all trials. With
    `best` only trials with an error, the lowest first; the table has the first 10.
    """
    directory = CampaignDirectory.open(campaign_dir)
    state = read_short_state(directory) if form == "table" and not best else read_state(directory)
    placed = placement_of(directory) is not None
    queued, query_error = _query_queue(directory, _jobs(state, placed=placed))
    queried, queued = queued is not None, queued or {}
    workforce = WorkforceStatus.read(directory, state, queued) if placed else None
    rows = [
        _row(directory, state, trial, queued.get(trial.attempts[-1].name), queried=queried, workforce=workforce)
        for trial in state.trials.values()
    ]
    everything = rows
    if best:
        rows = sorted((row for row in rows if row["error"] is not None), key=lambda row: row["error"])
        rows = rows[:_MAX_BEST] if form == "table" else rows
    if form == "csv":
        return CommandOutput(render_rows(rows, form), form=form)
    if best and form == "table":
        return CommandOutput(_trials_table(rows) or "no trial has an error yet\n")
    heading = _heading(directory, state, everything) | ({"queue": query_error} if query_error else {})
    if form == "json":
        document = heading | (workforce.document() if workforce else {}) | {"trials": rows}
        return CommandOutput(json.dumps(document, indent=2, default=format_time) + "\n", form=form)
    shown = {
        "campaign": heading["campaign"],
        "state": ": ".join(filter(None, [heading["state"], heading["reason"]])),
        "simulated": "yes: no training takes place" if heading["simulated"] else None,
        "controller": heading["controller"],
        "report": _report(directory),
        "drained": ", ".join(map(_drained, heading["drained"])) or None,
        "queue": heading.get("queue"),
        "began": heading["began"],
        "deadline": heading["deadline"],
        "progress": _progress(directory, state, everything) or None,
        "best error": _best_error(heading["best_error"], heading["best_trial"]),
        **(workforce.heading() if workforce else {}),
        "trials": _counts(state, rows),
        "failed": _failed(directory, state),
    }
    lines = {key: str(value) for key, value in shown.items() if value is not None}
    width = 1 + max(10, *map(len, lines))
    text = "".join(f"{key:<{width}}{visible(value)}\n" for key, value in lines.items())
    if state.older:
        text += f"{'':<{width}}the table has the latest {RECENT} of the ended ones: --format csv has all\n"
    tables = [workforce.tables() if workforce else "", _trials_table(rows)]
    return CommandOutput("\n".join([text, *filter(None, tables)]) if any(tables) else text + "no trials yet\n")


def _progress(directory: CampaignDirectory, state: CampaignState, rows: Iterable[Mapping[str, Any]]) -> str:
    """How many trials are over, and the time that is left."""
    time, settings = now(), directory.settings
    return progress_text(state, settings, estimated_seconds(state, settings, _shares(state, rows), time), time)


def _shares(state: CampaignState, rows: Iterable[Mapping[str, Any]]) -> Iterator[float]:
    """Trained share of each trial that is not over."""
    for row in rows:
        if state.trials[row["trial"]].end is None:
            epochs, _, planned = row["epoch"].partition("/")
            yield int(epochs) / int(planned)


def _best_error(error: float | None, trial: int | None) -> str | None:
    return None if error is None else f"{error:.2%}, trial {trial}"


def _report(directory: CampaignDirectory) -> str | None:
    """Path of the report; None while there is none."""
    with suppress(TransientError):
        return str(directory.report) if file_exists(directory.report) else None
    return None


def _failed(directory: CampaignDirectory, state: CampaignState) -> str | None:
    """Number of attempts that failed, with the command that shows them; None for none."""
    attempts = sum(len(trial.attempts) for trial in state.trials.values()) + sum(state.older.attempts)
    command = command_line(["status", str(directory.path), "--failed"])
    return f"{state.failures:,} of {count(attempts, 'attempt')}: {command}" if state.failures else None


def _drained(row: Mapping[str, Any]) -> str:
    """A drained node, by whom and since when."""
    ends = ", running trials end" if row["now"] else ""
    return f"{row['node']} (by {row['user']} at {row['time']}{ends})"


def _trials_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The trials as a table; of many trials that run or wait on agents only the first."""
    at_work = [row["trial"] for row in rows if "agent" in row and row["state"] in _AT_WORK]
    omitted = set(at_work[_MAX_AT_WORK:])
    cells = [_cells(row) for row in rows if row["trial"] not in omitted]
    more = f"{len(omitted):,} more trials at work: --format csv has all\n" if omitted else ""
    return render_rows(cells, "table") + more if cells else ""


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table: that of a placed trial has agent and slot in place of job and host."""
    error = None if row["error"] is None else f"{row['error']:.2%}"
    why = row["why"] and textwrap.shorten(row["why"], _MAX_REASON, placeholder=" …")
    cells = {**row, "error": error, "network": row["network"][:8], "why": why}
    if "agent" in row:
        slot = "" if row["slot"] is None else f":{row['slot']}"
        for key in ("job", "agent", "slot", "host", "why"):
            del cells[key]
        cells |= {"agent:slot": row["agent"] and row["agent"] + slot, "why": why}
    return cells


def _counts(state: CampaignState, rows: Iterable[Mapping[str, Any]]) -> str | None:
    """Numbers of trials by state, the largest first."""
    counts = Counter(row["state"] for row in rows) + Counter(state.older.reasons)
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{number:,} {name}" for name, number in ordered) or None


def _heading(directory: CampaignDirectory, state: CampaignState, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The campaign as a whole: times in UTC, `remaining` in seconds, errors as fractions."""
    deadline = state.deadline(directory.settings.campaign.duration)
    holder = read_holder(directory.lock)
    alive = holder.alive() if holder else False
    controller = {True: "alive", False: "none", None: holder.location if holder else ""}[alive]
    if holder and alive is not False:
        controller += f": process {holder.pid} on {holder.host}"
    errors = [(state.best_error, state.best_trial), *((row["error"], row["trial"]) for row in rows)]
    best = min((each for each in errors if each[0] is not None), default=(None, None))
    remaining = None
    if deadline is not None and state.phase is not Phase.FINISHED:
        remaining = max(int((deadline - now()).total_seconds()), 0)
    return {
        "campaign": str(directory.path),
        "state": state.phase.value,
        "reason": state.phase_reason or None,
        "simulated": directory.settings.simulated,
        "controller": controller,
        "drained": [
            {"node": node, "now": entry.now, "time": format_time(entry.time), "user": entry.user, "host": entry.host}
            for node, entry in state.drained.entries.items()
        ],
        "began": format_time(state.first_begin) if state.first_begin else None,
        "deadline": format_time(deadline) if deadline else None,
        "remaining": remaining,
        "best_error": best[0],
        "best_trial": best[1],
        "failed_attempts": state.failures,
    }


def _jobs(state: CampaignState, *, placed: bool) -> list[str]:
    """Names of the batch jobs that have not ended: those of allocations where attempts are placed on agents."""
    if placed:
        return [allocation.name for allocation in state.workforce.live_allocations]
    return [attempt.name for attempt in state.live.values()]


def _query_queue(
    directory: CampaignDirectory, names: Sequence[str]
) -> tuple[Mapping[str, JobStatus] | None, str | None]:
    """State of live jobs in a batch system, by one query; None and the error when it does not answer."""
    settings = directory.settings.scheduler
    if not names or not isinstance(settings, ClusterSettings):
        return None, None
    try:
        return make_scheduler(settings).query(names), None
    except SchedulerUnreachableError as error:
        return None, f"could not be queried: {error}"


def _row(
    directory: CampaignDirectory,
    campaign: CampaignState,
    trial: TrialState,
    queued: JobStatus | None,
    *,
    queried: bool,
    workforce: WorkforceStatus | None,
) -> dict[str, Any]:
    """One trial.

    Args:
        directory: The campaign.
        campaign: Its state.
        trial: The trial.
        queued: The state of its job in the queue; None if the queue does not list it.
        queried: Whether the queue was queried, and answered.
        workforce: The campaign's agents; None where the trial's attempts are jobs of their own.
    """
    last = trial.attempts[-1]
    if workforce:
        queued, queried = workforce.attempt_status(last), False
    planned = trial_plan(directory, trial).epochs
    hosts = last.began.hosts if last.began else []
    if last.end:
        epochs, error = last.end.epochs, last.end.best_error  # of the whole trial
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
            state, why = "ENDED", f"{ended}; not yet recorded by a controller"
        else:
            state, why = live_state(last, queued, begun=bool(hosts), queried=queried)
    return {
        "trial": trial.trial,
        "state": state,
        "epoch": f"{epochs}/{planned}",
        "error": error,
        "network": trial.proposal.network_hash,
        "parent": trial.proposal.parent,
        "attempts": len(trial.attempts),
        **(workforce.place(last) if workforce else {"job": last.job}),
        "host": " ".join(hosts) if hosts and state != "PENDING" else None,
        "why": why or None,
    }


def live_state(attempt: AttemptState, queued: JobStatus | None, *, begun: bool, queried: bool) -> tuple[str, str]:
    """State of an attempt that has not ended, by its events and the queue, and the reason why it does not run, if any.

    Args:
        attempt: The attempt.
        queued: The state of its job in the queue; None if it is not listed, or the queue was not queried.
        begun: The attempt has written a begin line.
        queried: The queue was queried, and answered.
    """
    known = "RUNNING" if begun else "SUBMITTED"
    if queued is None:
        state, why = known, "the queue does not list its job" if begun and queried else ""
    elif queued.state is JobState.ENDED:
        state, why = known, ": ".join(filter(None, ["its job has ended", queued.detail]))
    elif queued.state is JobState.PENDING:
        again = "requeued" if begun else ""
        state, why = "PENDING", ", ".join(filter(None, [again, queued.detail]))
    elif queued.suspended:
        state, why = "SUSPENDED", _SUSPENSIONS.get(queued.detail, queued.detail)
    else:
        state, why = known, queued.detail
    if attempt.cancelling:
        cancelled = f"signalled to end: {attempt.cancelling.value}"
        return "ENDING", ", ".join(filter(None, [cancelled, why]))
    return state, why
