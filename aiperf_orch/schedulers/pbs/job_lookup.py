"""Lookup of single PBS jobs by id, for jobs that a listing of the queue does not contain; ended jobs included.

The module imports little, since submitit loads it in every job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.util.errors import SchedulerUnreachableError

if TYPE_CHECKING:
    from aiperf_orch.schedulers.command import CommandResult

IDS_PER_CALL: Final = 20
"""Maximum number of ids for one qstat: each takes the server about 0.1 s."""

RunCommand = Callable[[list[str]], "CommandResult"]


def look_up_jobs(run: RunCommand, jobs: Sequence[str]) -> dict[str, qstat.QstatJob]:
    """Query jobs by id.

    Args:
        run: runs a qstat command.
        jobs: job ids, of any number.

    Returns:
        The known jobs by number. Ended jobs are known only if the server keeps a job history.

    Raises:
        SchedulerUnreachableError: if qstat neither showed a job nor reported it as unknown. An empty or truncated
            output allows no conclusion, with any exit status.
    """
    found: dict[str, qstat.QstatJob] = {}
    for start in range(0, len(jobs), IDS_PER_CALL):
        found |= _query(run, jobs[start : start + IDS_PER_CALL], history=True)
    return found


def complete_output(answer: CommandResult) -> str:
    """Output of a `qstat -f`.

    Raises:
        SchedulerUnreachableError: if the output is truncated, which allows no conclusion.
    """
    if not qstat.is_complete(answer.output):
        raise SchedulerUnreachableError("qstat: its output is truncated")
    return answer.output


def _query(run: RunCommand, jobs: Sequence[str], *, history: bool) -> dict[str, qstat.QstatJob]:
    answer = run(qstat.jobs_command(list(jobs), history=history))
    if history and qstat.reports_no_history(answer.errors):  # it shows no live jobs then, either
        return _query(run, jobs, history=False)
    if answer.status not in (0, qstat.STATUS_UNKNOWN_JOB, qstat.STATUS_FINISHED):
        raise SchedulerUnreachableError(f"qstat: {answer.error_line}")
    found = {qstat.job_number(job.id): job for job in qstat.parse_jobs(complete_output(answer))}
    answered = found.keys() | qstat.parse_unknown(answer.errors)
    missing = [job for job in jobs if qstat.job_number(job) not in answered]
    if missing and len(jobs) == 1:
        raise SchedulerUnreachableError(f"qstat: its output does not mention job {jobs[0]}")
    for job in missing:  # in some releases one unknown id hides the other jobs
        found |= _query(run, [job], history=history)
    return found
