"""How a PBS job stands and why it has ended, typed, from what qstat says. `Exit_status = 0` is no success: the end line is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Final

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import AccountedJob, JobEnd, JobState, JobStatus
from aiperf_orch.schedulers.pbs import qstat

_CODES: Final[Mapping[int, tuple[EndReason | None, str]]] = {
    -29: (EndReason.TIME_LIMIT, "exceeded its walltime"),
    -28: (EndReason.TRIAL_ERROR, "exceeded its processor time"),
    -27: (EndReason.OUT_OF_MEMORY, "exceeded its memory"),
    -26: (EndReason.OUT_OF_MEMORY, "exceeded its virtual memory"),
    -25: (EndReason.TRIAL_ERROR, "exceeded its processors"),
    -24: (EndReason.TRIAL_ERROR, "exceeded its processors for a moment"),
    -20: (EndReason.NODE_FAILURE, "its node was lost"),
    -4: (EndReason.NODE_FAILURE, "PBS was restarted on its node"),
}
"""PBS's own exit codes, which no program can have."""

_MOST_SIGNALS: Final = 64


_SUSPENDED: Final[Mapping[int, str]] = {
    43: "suspended: `qsig -s resume` lets it go on",
    45: "suspended for a job of higher priority",
}
"""Substates of suspended jobs: 43 by an operator, 45 by PBS's scheduler."""


def status_of(job: qstat.Job, listed: Callable[[str], bool] | None = None) -> JobStatus:
    """What a job's state means to us; a state that is not known is no end.

    Args:
        job: as qstat shows it.
        listed: whether the listing that the job is from has a job of this id. A job that follows one that is not there
            any more, as one that was deleted while it waited, is never let go by PBS.
    """
    if job.state in qstat.ENDED:
        end = end_of(job)
        return JobStatus(job.name, job.id, JobState.ENDED, end.detail if end else "")
    if job.state in qstat.WAITING:
        left_alone = job.state == "H" and bool(job.follows) and listed is not None and not any(map(listed, job.follows))
        why = _why_it_waits(job) + (", which is not in the queue any more" if left_alone else "")
        stuck = job.cannot_run or job.starts_refused or left_alone
        return JobStatus(job.name, job.id, JobState.PENDING, why, stuck=stuck, final=job.starts_refused)
    suspended = job.state in qstat.SUSPENDED
    return JobStatus(
        job.name, job.id, JobState.RUNNING, _how_it_runs(job), running_for=job.seconds, suspended=suspended
    )


def end_of(job: qstat.Job) -> JobEnd | None:
    """Why a job has ended; None when it has not."""
    if job.state not in qstat.ENDED:
        return None
    code, comment = job.exit_status, job.comment
    reason: EndReason | None = None
    if code is not None and code in _CODES:
        reason, detail = _CODES[code]
    elif "resource walltime" in comment:  # older servers give it the code of a signal
        reason, detail = _CODES[-29]
    elif "resource mem" in comment or "resource vmem" in comment:
        reason, detail = _CODES[-27]
    elif job.is_preempted:
        reason, detail = EndReason.PREEMPTED, "preempted"
    elif job.state == "M":
        detail = "moved to another server"
    elif job.never_ran and job.substate != qstat.DELETED and job.follows:
        detail = f"removed by PBS before it ran: it was to follow job {', '.join(job.follows)}"
    elif job.substate == qstat.DELETED or code is None or "terminated by" in comment:
        reason, detail = EndReason.CANCELLED, "deleted"
    elif code < 0:  # no program's: the node, or a hook on it, would not run the job
        reason, detail = EndReason.NODE_FAILURE, f"PBS could not run it (exit status {code})"
    elif 256 < code <= 256 + _MOST_SIGNALS:
        detail = f"its shell was ended by signal {code - 256}"
    elif 128 < code <= 128 + _MOST_SIGNALS:
        detail = f"ended by signal {code - 128}"
    elif code == 0:
        detail = "exit status 0"
    else:
        reason, detail = EndReason.TRIAL_ERROR, f"exit status {code}"
    return JobEnd(reason, f"{detail} ({comment})" if comment else detail, job.hosts)


def accounted(job: qstat.Job, name: str) -> AccountedJob:
    """A job as its server's history has it. qstat prints times of this machine's own zone.

    Of a job that was started several times PBS tells the last start only: none is given, for its trial began before.
    """
    code = job.attributes.get("Exit_status", "")
    if job.state not in qstat.ENDED:
        state = "PENDING" if job.state in qstat.WAITING else "RUNNING"
    elif job.substate == qstat.DELETED:
        state = "DELETED"
    else:
        state = "COMPLETED" if code == "0" else "FAILED"
    end = _utc(job, "obittime") if job.state in qstat.ENDED else None
    start = _utc(job, "stime") if job.attributes.get("run_count", "1") == "1" else None
    return AccountedJob(name, job.id, state, code, start, end, job.hosts)


def _utc(job: qstat.Job, attribute: str) -> str | None:
    """A time as `Mon Nov 23 13:53:29 2026`, or as seconds since 1970, in UTC; None when the job has none, as one that never ran.

    Which times qstat writes out depends on the release.
    """
    text = job.attributes.get(attribute, "")
    if re.fullmatch(r"[1-9]\d{8,9}", text):
        moment = float(text)
    else:
        try:
            moment = time.mktime(time.strptime(text, "%a %b %d %H:%M:%S %Y"))
        except ValueError:
            return None
    return f"{datetime.fromtimestamp(moment, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"


def _how_it_runs(job: qstat.Job) -> str:
    """What is to be known of a job that has its nodes: nothing when it runs for the first time."""
    if job.state == "S":
        return _SUSPENDED.get(job.substate or 0, "suspended")
    if job.state == "U":
        return "suspended: its node is in use by its owner"
    if job.state == "E":
        return "ends: PBS collects its output"
    return f"start {job.starts}: PBS has started it before" if job.starts > 1 else ""


def _why_it_waits(job: qstat.Job) -> str:
    """A waiting job's comment, or what its state says; of a held one, who can let it go on; of one that ran, why it waits."""
    said = []
    if job.state == "Q" and job.starts:
        code = job.exit_status
        _, cause = _CODES.get(code, (None, "")) if code is not None else (None, "")
        said.append(f"put back into the queue after {job.starts} start(s)" + (f", as {cause}" if cause else ""))
    if job.comment:
        said.append(job.comment)
    holds = job.attributes.get("Hold_Types", "n")
    if job.state == "H" and job.follows:
        said.append(f"waits for the end of job {', '.join(job.follows)}")
    elif job.state == "H" and job.attributes.get("depend"):
        said.append("waits for another job")
    elif job.state == "H" and holds == "u":
        said.append("held by its user: `qrls` lets it go on")
    elif job.state == "H":
        said.append(f"held by the system or an operator ({holds}), who alone can let it go on")
    begin = job.attributes.get("Execution_Time", "")
    words = {"T": "moves to another server", "W": f"its start lies ahead: {begin}" if begin else "its start lies ahead"}
    return ": ".join(said) or words.get(job.state, "not looked at yet")
