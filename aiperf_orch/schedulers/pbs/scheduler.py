"""Scheduler for PBS Pro and OpenPBS: one qsub and one qdel for each job, one qstat for the whole campaign."""

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
from aiperf_orch.schedulers.batch_scripts import PBS_EARLY_LOG, pbs_script
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.schedulers.command import CommandResult, run_command
from aiperf_orch.schedulers.pbs import inventory, qstat
from aiperf_orch.schedulers.pbs.error_messages import PbsErrorClass, classify, make_error
from aiperf_orch.schedulers.pbs.job_lookup import complete_output, look_up_jobs
from aiperf_orch.schedulers.pbs.job_status import accounted_job, end_of, status_of
from aiperf_orch.settings.schedulers import PbsSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, SubmitPostponedError, UsageError
from aiperf_orch.util.job_files import SCRIPT

PROGRAMS: Final = ("qsub", "qstat", "qdel")
_CALL_INTERVAL: Final = (
    1 / 8
)  # seconds between two connections: each occupies one of 512 ports of the host for a minute
_MAX_CANCELS: Final = 24  # calls of qdel at a time, which take three seconds


class _PredecessorGoneError(SubmitPostponedError):
    """The predecessor of a job has ended or is not known; the job is submitted without a dependency."""


class PbsScheduler(Scheduler):
    """Submits each attempt as a PBS job."""

    has_queue = True
    max_cancels_per_call = _MAX_CANCELS
    early_log = PBS_EARLY_LOG

    def __init__(self, settings: PbsSettings, template: str = "pbs.sh.j2") -> None:
        """Run no command yet.

        Args:
            settings: settings of the jobs.
            template: name of our template of the batch script.
        """
        self._settings, self._template = settings, template
        self.query_interval = settings.query_interval
        self.lookahead = settings.lookahead
        self._next_call, self._next_call_lock = 0.0, threading.Lock()

    def check(self, concurrency: int) -> list[str]:  # noqa: ARG002  PBS enforces its limits itself
        """Check that the PBS programs are installed and the server answers; warn if it keeps no job history."""
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            raise UsageError(f"scheduler.kind: pbs, but {', '.join(missing)}: not found: is this a login node?")
        if self.has_history:
            return []
        return [
            "PBS keeps no job history here (job_history_enable): why a job ended that reports no reason stays unknown"
        ]

    def render(self, request: JobRequest) -> str:
        """Render the batch script of a job."""
        return self._script(request)

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs, one qsub each; a job whose predecessor is gone is submitted without a dependency."""
        return submit_groups(requests, self._submit)

    def node_names(self) -> Collection[str] | None:
        """Return the names of the complex's hosts; None where pbsnodes is not permitted."""
        result = run_command(inventory.nodes_command(), timeout=self._settings.command_timeout)
        return [node.name for node in inventory.parse_nodes(result.output)] if result.status == 0 else None

    def release_resources(self, names: Collection[str]) -> None:
        """Do nothing: PBS frees an allocation itself."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Query jobs by name with one qstat."""
        found: dict[str, JobStatus] = {}
        listing = complete_output(self._ask(qstat.list_command()))
        for job in qstat.parse_jobs(listing, frozenset(names)):
            status = status_of(job, partial(qstat.is_listed, listing))
            known = found.get(job.name)
            if known is None or known.state is JobState.ENDED:
                found[job.name] = status
        return found

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """Query jobs by id; without a job history, ended jobs are unknown."""
        return {name: end_of(job) or status_of(job) for name, job in self._look_up(jobs).items()}

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:
        """Read the job history, which is never behind the queue; None if it does not contain all of the jobs."""
        if jobs and not self.has_history:
            return None
        known = self._look_up(jobs)
        return [accounted_job(job, name) for name, job in known.items()] if known.keys() == jobs.keys() else None

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Delete jobs: a running job gets SIGTERM, and SIGKILL after the server's kill_delay, with `force` immediately.

        A job that is already exiting is not deleted again, unless with `force`. Pending jobs are deleted first, since
        the end of a running job would release its successors.
        """
        done = CancelResult()
        listed = self.query(jobs.keys())
        pending = {name: each.job for name, each in listed.items() if each.state is JobState.PENDING}
        others = {name: each.job for name, each in listed.items() if each.state is JobState.RUNNING}
        others |= {name: job for name, job in jobs.items() if job is not None and name not in listed}
        deleted: dict[str, str] = {}
        options = ["-W", "force"] if force else []
        for name, job in (pending | others).items():
            answer = self._run(["qdel", *options, job])
            if answer.status == 0 and name in pending:
                deleted[name] = job
            elif answer.status and classify("qdel", answer) is not PbsErrorClass.JOB_GONE:
                error = make_error("qdel", answer)
                if isinstance(error, SchedulerUnreachableError):
                    raise error
                done.refused[name] = str(error)
        done.never_started += self._never_ran(deleted)
        return done

    def _never_ran(self, jobs: Mapping[str, str]) -> list[str]:
        """Names of deleted jobs that never ran: a pending job may have started just before it was deleted.

        Args:
            jobs: ids of the deleted jobs by name.
        """
        try:
            known = self._look_up(jobs)
        except SchedulerUnreachableError:
            return []  # a later query shows it
        return [name for name in jobs if name not in known or known[name].never_ran]

    def _look_up(self, jobs: Mapping[str, str]) -> dict[str, qstat.QstatJob]:
        """Query jobs by id; unknown jobs are omitted, and without a job history ended jobs are unknown.

        Args:
            jobs: ids by name.

        Returns:
            The known jobs by name.
        """
        found = look_up_jobs(self._run, list(jobs.values()))
        numbers = {name: qstat.job_number(job) for name, job in jobs.items()}
        return {name: found[number] for name, number in numbers.items() if number in found}

    @property
    def has_history(self) -> bool:
        """Whether the server keeps a job history."""
        return self._server.get("job_history_enable", "").lower() == "true"

    @cached_property
    def _server(self) -> dict[str, str]:
        return qstat.parse_server(self._ask(qstat.server_command()).output)

    def _run(self, command: Sequence[str], folder: Path | None = None) -> CommandResult:
        """Run a command, at a rate that the connections of PBS allow."""
        with self._next_call_lock:  # methods run in several threads: each command takes the next free time slot
            begin = max(self._next_call, time.monotonic())
            self._next_call = begin + _CALL_INTERVAL
        time.sleep(max(begin - time.monotonic(), 0.0))
        return run_command(command, timeout=self._settings.command_timeout, folder=folder)

    def _ask(self, command: Sequence[str]) -> CommandResult:
        """Run a command whose failure means that PBS does not answer.

        Raises:
            SchedulerUnreachableError: if the command failed.
        """
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
        except _PredecessorGoneError:
            return self._submit_script(replace(request, after=None))
        return self._submit_script(replace(request, after=None)) if self._was_removed(job) else job

    def _was_removed(self, job: str) -> bool:
        """Whether PBS has accepted a job and then removed it, as it does if the predecessor is unknown."""
        try:
            known = self._look_up({"": job}).get("")
        except SchedulerUnreachableError:
            return False  # as far as is known, it is in the queue
        return known is None or (known.never_ran and known.substate != qstat.SUBSTATE_DELETED)

    def _submit_script(self, request: JobRequest) -> str:
        import submitit  # slow, and not needed for queries

        from aiperf_orch.schedulers.pbs.submitit_plugin import CampaignExecutor

        qsub = partial(self._qsub, has_predecessor=request.after is not None)
        executor = CampaignExecutor(request.folder, lambda: self._script(request), qsub)
        executor.submit(submitit.helpers.CommandFunction(list(request.command)))
        return executor.full_id

    def _qsub(self, folder: Path, *, has_predecessor: bool) -> str:
        """Submit the script in a folder; return the full id of the job."""
        answer = self._run(["qsub", SCRIPT], folder=folder)
        job = qstat.parse_submitted_id(answer.output)
        if answer.status == 0 and job is not None:
            return job
        if answer.status == 0:
            raise SchedulerUnreachableError(f"qsub: {answer.error_line}")
        if has_predecessor and classify("qsub", answer) is PbsErrorClass.JOB_GONE:
            raise _PredecessorGoneError(answer.error_line)
        raise make_error("qsub", answer)

    def _script(self, request: JobRequest) -> str:
        return pbs_script(self._settings, self._template, request)
