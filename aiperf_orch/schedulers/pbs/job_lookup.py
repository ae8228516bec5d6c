"""What PBS knows of single jobs by their ids, ended ones too: for those that a listing of the queue does not show.

Light on imports, since submitit loads it in every job.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.util.errors import SchedulerUnreachableError

if TYPE_CHECKING:
    from aiperf_orch.schedulers.command import CommandResult

IDS_A_CALL: Final = 20
"""Ids for one qstat: each takes the server a tenth of a second."""

Run = Callable[[list[str]], "CommandResult"]


def look_up(run: Run, jobs: Sequence[str]) -> dict[str, qstat.Job]:
    """The jobs that PBS knows, by number; ended ones only where it keeps a history. The others are unknown to it.

    Args:
        run: runs a command of qstat.
        jobs: ids, of any number.

    Raises:
        SchedulerUnreachableError: when it said nothing of one of them, not even that it does not know it: nothing may be
            concluded from an answer that is empty or broke off, whatever its exit status.
    """
    found: dict[str, qstat.Job] = {}
    for start in range(0, len(jobs), IDS_A_CALL):
        found |= _ask_for(run, jobs[start : start + IDS_A_CALL], history=True)
    return found


def _ask_for(run: Run, jobs: Sequence[str], *, history: bool) -> dict[str, qstat.Job]:
    answer = run(qstat.jobs_command(list(jobs), history=history))
    if history and qstat.has_no_history(answer.errors):  # it says so of jobs that live, too
        return _ask_for(run, jobs, history=False)
    if answer.status not in (0, qstat.NO_SUCH_JOB, qstat.FINISHED):
        raise SchedulerUnreachableError(f"qstat: {answer.error_line}")
    found = {qstat.number_of(job.id): job for job in qstat.parse_jobs(whole(answer))}
    spoken_of = found.keys() | qstat.parse_unknown(answer.errors)
    silent = [job for job in jobs if qstat.number_of(job) not in spoken_of]
    if silent and len(jobs) == 1:
        raise SchedulerUnreachableError(f"qstat: it said nothing of job {jobs[0]}")
    for job in silent:  # of several, one that is unknown hides the others in some versions
        found |= _ask_for(run, [job], history=history)
    return found


def whole(answer: CommandResult) -> str:
    """What qstat printed; raises SchedulerUnreachableError for half of it, from which nothing may be concluded."""
    if not qstat.is_whole(answer.output):
        raise SchedulerUnreachableError("qstat: its answer broke off")
    return answer.output
