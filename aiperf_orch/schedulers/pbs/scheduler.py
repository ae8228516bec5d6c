"""The scheduler PBS Pro / OpenPBS: one qsub a job, one qdel an id, one qstat without ids for the whole campaign."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Final

from aiperf_orch.schedulers.base import (
    AccountedJob,
    CancelResult,
    JobEnd,
    JobRequest,
    JobState,
    JobStatus,
    Scheduler,
    SubmitResult,
)
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.schedulers.command import CommandResult, run_command
from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.error_messages import Meaning, complaint_of, meaning_of
from aiperf_orch.schedulers.pbs.job_lookup import look_up, whole
from aiperf_orch.schedulers.pbs.job_status import accounted, end_of, status_of
from aiperf_orch.schedulers.script_rendering import render_script, submitit_command
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, SubmitPostponedError, UsageError
from aiperf_orch.util.job_files import LOG, SCRIPT

PROGRAMS: Final = ("qsub", "qstat", "qdel")
_PACE: Final = 1 / 8  # seconds between two connections: each holds one of 512 ports of the host for a minute
_MOST_CALLS: Final = 24  # of qdel at a time: three seconds


class _NothingToFollow(SubmitPostponedError):
    """The job that another is to follow has ended, or is not known: it goes without."""


class PbsScheduler(Scheduler):
    """Runs each trial as a PBS job."""

    max_cancels_per_call = _MOST_CALLS
    early_log = "pbs.log"

    def __init__(self, settings: PbsSettings) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self.query_interval = settings.query_interval
        self.lookahead = settings.lookahead
        self._next_call, self._pacing = 0.0, threading.Lock()

    def check(self, concurrency: int) -> list[str]:  # noqa: ARG002  what a user may have is PBS's to say
        """Refuse a machine without PBS's programs, or whose server does not answer."""
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            raise UsageError(f"scheduler.kind: pbs, but {', '.join(missing)}: not found: is this a login node?")
        if self.has_history:
            return []
        return ["PBS keeps no job history here (job_history_enable): why a job ended without a word stays unknown"]

    def render(self, request: JobRequest) -> str:
        """The script of one job."""
        return self._script(request)

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs, one qsub each; one that is to follow a job which is gone follows none."""
        return submit_groups(requests, self._submit)

    def release_resources(self, names: Collection[str]) -> None:
        """PBS frees an allocation itself."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """One qstat for all."""
        found: dict[str, JobStatus] = {}
        listing = whole(self._ask(qstat.list_command()))
        for job in qstat.parse_jobs(listing, frozenset(names)):
            status = status_of(job, partial(qstat.lists, listing))
            known = found.get(job.name)
            if known is None or known.state is JobState.ENDED:
                found[job.name] = status
        return found

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """By qstat of their ids, with the history where PBS keeps one: without it what has ended is unknown."""
        return {name: end_of(job) or status_of(job) for name, job in self._look_up(jobs).items()}

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:
        """What PBS's history, which lags behind nothing, knows of them; None once it has forgotten one."""
        if jobs and not self.has_history:
            return None
        known = self._look_up(jobs)
        return [accounted(job, name) for name, job in known.items()] if known.keys() == jobs.keys() else None

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Delete jobs: what runs gets SIGTERM, and SIGKILL after the server's kill_delay; with `force` at once.

        A job that ends already is left alone, unless it is to be forced. Those that wait come first: the end of one that
        runs would let go what follows it.
        """
        done = CancelResult()
        listed = self.query(jobs.keys())
        waiting = {name: each.job for name, each in listed.items() if each.state is JobState.PENDING}
        others = {name: each.job for name, each in listed.items() if each.state is JobState.RUNNING}
        others |= {name: job for name, job in jobs.items() if job is not None and name not in listed}
        deleted: dict[str, str] = {}
        for name, job in (waiting | others).items():
            answer = self._run(["qdel", *(["-W", "force"] if force else []), job])
            if answer.status == 0 and name in waiting:
                deleted[name] = job
            elif answer.status and meaning_of("qdel", answer) is not Meaning.GONE:
                error = complaint_of("qdel", answer)
                if isinstance(error, SchedulerUnreachableError):
                    raise error
                done.refused[name] = str(error)
        done.never_started += self._never_ran(deleted)
        return done

    def _never_ran(self, jobs: Mapping[str, str]) -> list[str]:
        """Those of these jobs, ids by name, that have not begun, now that they were deleted: one may have begun meanwhile."""
        try:
            known = self._look_up(jobs)
        except SchedulerUnreachableError:
            return []  # the queue will tell
        return [name for name in jobs if name not in known or known[name].never_ran]

    def _look_up(self, jobs: Mapping[str, str]) -> dict[str, qstat.Job]:
        """Those of these jobs, ids by name, that PBS knows, ended ones only where it keeps a history."""
        found = look_up(self._run, list(jobs.values()))
        numbers = {name: qstat.number_of(job) for name, job in jobs.items()}
        return {name: found[number] for name, number in numbers.items() if number in found}

    @property
    def has_history(self) -> bool:
        """Whether the server keeps ended jobs for a while."""
        return self._server.get("job_history_enable", "").lower() == "true"

    @cached_property
    def _server(self) -> dict[str, str]:
        return qstat.parse_server(self._ask(qstat.server_command()).output)

    def _run(self, command: Sequence[str], folder: Path | None = None) -> CommandResult:
        """Run a command, not sooner after the one before than PBS's ports allow."""
        with self._pacing:  # methods run in several threads: each command takes the next free moment
            begin = max(self._next_call, time.monotonic())
            self._next_call = begin + _PACE
        time.sleep(max(begin - time.monotonic(), 0.0))
        return run_command(command, timeout=self._settings.command_timeout, folder=folder)

    def _ask(self, command: Sequence[str]) -> CommandResult:
        """Run a command whose failure means that PBS does not answer."""
        answer = self._run(command)
        if answer.status:
            raise SchedulerUnreachableError(f"{command[0]} failed with {answer.status}: {answer.error_line}")
        return answer

    def _submit(self, group: Sequence[JobRequest]) -> str:
        (request,) = group
        if request.after is None:
            return self._submit_script(request)
        try:
            job = self._submit_script(request)
        except _NothingToFollow:
            return self._submit_script(replace(request, after=None))
        return self._submit_script(replace(request, after=None)) if self._was_removed(job) else job

    def _was_removed(self, job: str) -> bool:
        """Whether PBS has accepted a job and then removed it, as it does when it does not know the one to follow."""
        try:
            known = self._look_up({"": job}).get("")
        except SchedulerUnreachableError:
            return False  # it is in the queue, for all that is known
        return known is None or (known.never_ran and known.substate != qstat.DELETED)

    def _submit_script(self, request: JobRequest) -> str:
        import submitit  # not for those who only ask

        from aiperf_orch.schedulers.pbs.submitit_plugin import CampaignExecutor

        qsub = partial(self._qsub, follows=request.after is not None)
        executor = CampaignExecutor(request.folder, lambda: self._script(request), qsub)
        executor.submit(submitit.helpers.CommandFunction(list(request.command)))
        return executor.full_id

    def _qsub(self, folder: Path, *, follows: bool) -> str:
        """Submit the script in a folder; returns the job's full id."""
        answer = self._run(["qsub", SCRIPT], folder=folder)
        job = qstat.submitted_id(answer.output)
        if answer.status == 0 and job is not None:
            return job
        if answer.status == 0:
            raise SchedulerUnreachableError(f"qsub: {answer.error_line}")
        if follows and meaning_of("qsub", answer) is Meaning.GONE:
            raise _NothingToFollow(answer.error_line)
        raise complaint_of("qsub", answer)

    def _script(self, request: JobRequest) -> str:
        from aiperf_orch.schedulers.pbs.submitit_plugin import walltime

        settings = self._settings
        limit = request.time_limit or settings.time_limit
        return render_script(
            "pbs.sh.j2",
            settings.template,
            name=request.name,
            job=settings,
            tasks_per_node=1,
            walltime=walltime(limit),
            after=request.after,
            campaign=request.campaign,
            folder=request.folder,
            log=LOG,
            output=self.early_log,
            warn_after=max(int(limit - settings.warn_before), 1),
            command=submitit_command(settings.python, '"$folder"'),
        )
