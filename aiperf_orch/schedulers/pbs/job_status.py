"""Status, end reason and accounting record of a PBS job, from the output of qstat.

`Exit_status = 0` alone does not count as success; the end event of the trial does.
"""

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
    -25: (EndReason.TRIAL_ERROR, "exceeded its number of processors (average)"),
    -24: (EndReason.TRIAL_ERROR, "exceeded its number of processors (burst)"),
    -20: (EndReason.NODE_FAILURE, "its node was lost"),
    -4: (EndReason.NODE_FAILURE, "PBS was restarted on its node"),
}
"""Exit codes of PBS itself, which no program can have."""

_HIGHEST_SIGNAL: Final = 64

_SUSPENDED: Final[Mapping[int, str]] = {
    43: "suspended; `qsig -s resume` resumes it",
    45: "suspended for a job of higher priority",
}
"""Substates of suspended jobs: 43 by an operator, 45 by the PBS scheduler."""


def status_of(job: qstat.QstatJob, listed: Callable[[str], bool] | None = None) -> JobStatus:
    """Translate the state of a job; an unknown state does not count as an end.

    Args:
        job: the job.
        listed: whether the listing that contains the job also contains a job with this id; None to skip the check. PBS
            never releases a job whose predecessor was deleted while it was pending.
    """
    if job.state in qstat.ENDED_STATES:
        end = end_of(job)
        return JobStatus(job.name, job.id, JobState.ENDED, end.detail if end else "")
    if job.state in qstat.PENDING_STATES:
        orphaned = _is_orphaned(job, listed)
        detail = _pending_detail(job) + (", which is not in the queue any more" if orphaned else "")
        stuck = job.can_never_run or job.starts_refused or orphaned
        return JobStatus(job.name, job.id, JobState.PENDING, detail, stuck=stuck, final=job.starts_refused)
    suspended = job.state in qstat.SUSPENDED_STATES
    detail = _running_detail(job)
    return JobStatus(job.name, job.id, JobState.RUNNING, detail, running_for=job.elapsed, suspended=suspended)


def end_of(job: qstat.QstatJob) -> JobEnd | None:
    """Classify why a job has ended; None if it has not."""
    if job.state not in qstat.ENDED_STATES:
        return None
    code, comment = job.exit_status, job.comment
    reason: EndReason | None = None
    if code is not None and code in _CODES:
        reason, detail = _CODES[code]
    elif "resource walltime" in comment:  # older servers report the exit status of a signal
        reason, detail = _CODES[-29]
    elif "resource mem" in comment or "resource vmem" in comment:
        reason, detail = _CODES[-27]
    elif job.is_preempted:
        reason, detail = EndReason.PREEMPTED, "preempted"
    elif job.state == "M":
        detail = "moved to another server"
    elif job.never_ran and job.substate != qstat.SUBSTATE_DELETED and job.predecessors:
        detail = f"removed by PBS before it ran, with its predecessor {', '.join(job.predecessors)}"
    elif job.substate == qstat.SUBSTATE_DELETED or code is None or "terminated by" in comment:
        reason, detail = EndReason.CANCELLED, "deleted"
    elif code < 0:  # not the status of a program: the node, or a hook on it, failed to run the job
        reason, detail = EndReason.NODE_FAILURE, f"PBS could not run it (exit status {code})"
    elif 256 < code <= 256 + _HIGHEST_SIGNAL:
        detail = f"its shell was ended by signal {code - 256}"
    elif 128 < code <= 128 + _HIGHEST_SIGNAL:
        detail = f"ended by signal {code - 128}"
    elif code == 0:
        detail = "exit status 0"
    else:
        reason, detail = EndReason.TRIAL_ERROR, f"exit status {code}"
    return JobEnd(reason, f"{detail} ({comment})" if comment else detail, job.hosts)


def accounted_job(job: qstat.QstatJob, name: str) -> AccountedJob:
    """Accounting record of a job, from the job history of its server.

    qstat prints times in the time zone of this machine. The start is None for a job that was started several times: PBS
    reports only the last start, and the trial began before.

    Args:
        job: the job.
        name: name of the job in the record.
    """
    code = job.attributes.get("Exit_status", "")
    if job.state not in qstat.ENDED_STATES:
        state = "PENDING" if job.state in qstat.PENDING_STATES else "RUNNING"
    elif job.substate == qstat.SUBSTATE_DELETED:
        state = "DELETED"
    else:
        state = "COMPLETED" if code == "0" else "FAILED"
    end = _utc(job, "obittime") if job.state in qstat.ENDED_STATES else None
    start = _utc(job, "stime") if job.attributes.get("run_count", "1") == "1" else None
    return AccountedJob(name, job.id, state, code, start, end, job.hosts)


def _is_orphaned(job: qstat.QstatJob, listed: Callable[[str], bool] | None) -> bool:
    """Whether a held job waits only for jobs that are not listed any more."""
    if job.state != "H" or not job.predecessors or listed is None:
        return False
    return not any(map(listed, job.predecessors))


def _utc(job: qstat.QstatJob, attribute: str) -> str | None:
    """A time of a job in UTC; None if the job does not have it, for example the start of a job that never ran.

    Depending on the release, qstat prints it as `Mon Nov 23 13:53:29 2026` or in seconds since 1970.
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


def _running_detail(job: qstat.QstatJob) -> str:
    """Describe a job that has its nodes; empty if it runs for the first time."""
    if job.state == "S":
        return _SUSPENDED.get(job.substate or 0, "suspended")
    if job.state == "U":
        return "suspended: its node is in use by its owner"
    if job.state == "E":
        return "exiting: PBS collects its output"
    return f"start {job.start_count}: PBS has started it before" if job.start_count > 1 else ""


def _pending_detail(job: qstat.QstatJob) -> str:
    """Describe why a job is pending: requeued, the comment of PBS, who can release a hold, or its state."""
    details = []
    if job.state == "Q" and job.start_count:
        code = job.exit_status
        _, cause = _CODES.get(code, (None, "")) if code is not None else (None, "")
        details.append(f"requeued after {job.start_count} start(s)" + (f", as {cause}" if cause else ""))
    if job.comment:
        details.append(job.comment)
    holds = job.attributes.get("Hold_Types", "n")
    if job.state == "H" and job.predecessors:
        details.append(f"waits for the end of job {', '.join(job.predecessors)}")
    elif job.state == "H" and job.attributes.get("depend"):
        details.append("waits for another job")
    elif job.state == "H" and holds == "u":
        details.append("held by its user; `qrls` releases it")
    elif job.state == "H":
        details.append(f"held by the system or an operator ({holds}), who alone can release it")
    begin = job.attributes.get("Execution_Time", "")
    states = {
        "T": "in transit to another server",
        "W": f"its start time is not reached: {begin}" if begin else "its start time is not reached",
    }
    return ": ".join(details) or states.get(job.state, "not yet evaluated by the PBS scheduler")
