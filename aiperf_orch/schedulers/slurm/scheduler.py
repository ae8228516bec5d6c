"""The scheduler Slurm: one squeue for all jobs, sbatch through submitit, scontrol and sacct for unlisted jobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

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
from aiperf_orch.schedulers.batch_scripts import slurm_script
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.schedulers.command import CommandResult, checked_output, run_command
from aiperf_orch.schedulers.slurm import inventory, squeue
from aiperf_orch.schedulers.slurm.error_messages import ErrorClass, classify, is_retrying
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import (
    QueueFullError,
    SchedulerUnreachableError,
    SubmitPostponedError,
    SubmitRefusedError,
    UsageError,
)
from aiperf_orch.util.whole_numbers import parse_whole_number

if TYPE_CHECKING:
    from aiperf_orch.schedulers.slurm.executor import SlurmExecutor

Item = TypeVar("Item")

PROGRAMS: Final = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_IDS_PER_CALL: Final = 500  # keeps command lines short
_MAX_SINGLE_QUERIES: Final = 8  # of scontrol, one job each; for more jobs one listing loads slurmctld less
_KILLED: Final = 128  # exit statuses of a shell from here on mean that the command was killed by a signal


class SlurmScheduler(Scheduler):
    """Runs each trial as a Slurm job."""

    has_queue = True
    avoids_nodes = True

    def __init__(self, settings: SlurmSettings, template: str = "slurm.sh.j2") -> None:
        """Run no command yet.

        Args:
            settings: settings of the jobs.
            template: name of our template of the batch script.
        """
        self._settings, self._template = settings, template
        self.query_interval = settings.query_interval
        self.lookahead = settings.lookahead

    def check(self, concurrency: int) -> list[str]:  # noqa: ARG002  Slurm enforces its limits
        """Refuse a machine without Slurm's programs, or whose slurmctld does not answer."""
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            raise UsageError(f"scheduler.kind: slurm, but {', '.join(missing)}: not found: is this a login node?")
        _ = self._config
        return []

    def render(self, request: JobRequest) -> str:
        """Render the script of one job."""
        return self._script([request])

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs, elements of one array by one call of sbatch; an array that exceeds a limit is halved."""
        return submit_groups(requests, self._submit)

    def _submit(self, group: Sequence[JobRequest]) -> str:
        """Submit one job, or elements of one array; without excluded nodes where Slurm refuses them.

        Without the excluded ones too few nodes may remain. Drained nodes stay excluded.
        """
        try:
            return self._executor(group).submit_all()
        except SubmitRefusedError:
            if not any(request.exclude for request in group):
                raise
        return self._executor([replace(request, exclude=()) for request in group]).submit_all()

    def node_names(self) -> Collection[str]:
        """Return the names of all nodes of the cluster."""
        return inventory.parse_node_names(self._output(inventory.node_names_command(self._settings.cluster)))

    def array_limit(self) -> int:
        """Return MaxArraySize; indices of elements are less than it."""
        return max(parse_whole_number(self._config.get("MaxArraySize", "")) or 0, 1)

    def release_resources(self, names: Collection[str]) -> None:
        """Do nothing: Slurm frees allocations itself."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Query all jobs by one squeue."""
        result = self._run(squeue.squeue_command(os.getuid(), self._settings.cluster))
        # with several clusters squeue ends with 0 although one of them did not answer
        if result.status or "slurm_load_jobs error" in result.errors:
            raise SchedulerUnreachableError(f"squeue failed: {result.error_line}")
        return squeue.statuses(list(squeue.parse_squeue(result.output)), names)

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """Query scontrol for live jobs, and sacct, with accounting, for the ends of the others.

        A job that slurmctld does not know has ended even where sacct shows it as running: sacct does so for lost jobs.
        """
        known = self._controlled(jobs)
        ended = {name: job for name, job in jobs.items() if not isinstance(known.get(name), JobStatus)}
        if ended and self.has_accounting:
            try:
                # sacct knows the steps, and jobs that slurmctld has purged, but learns of an end some seconds late
                known |= self._accounted(ended)
            except SchedulerUnreachableError:
                if ended.keys() - known.keys():
                    raise
        return known

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:
        """Read sacct's records; None without accounting."""
        if not self.has_accounting:
            return None
        names = {job: name for name, job in jobs.items()}
        found = []
        for ids in _chunks(list(names)):
            found += squeue.parse_accounting(
                self._output(squeue.accounting_command(ids, self._settings.cluster)), names
            )
        return found

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Cancel pending jobs and send SIGTERM to running ones; `force` cancels these too: SIGKILL after KillWait."""
        listed = self.query(jobs.keys())
        unlisted = {name: job for name, job in jobs.items() if job is not None and name not in listed}
        known = [*listed.values(), *self._controlled(unlisted).values()]
        live = [each for each in known if isinstance(each, JobStatus) and each.state is not JobState.ENDED]
        pending = [status for status in live if status.state is JobState.PENDING]
        running = [status for status in live if status.state is JobState.RUNNING]
        # not --state=PENDING, which for an element of a pending array cancels the whole array
        refused = self._scancel(pending) | self._scancel(running, *([] if force else ["--signal=TERM"]))
        return CancelResult([status.name for status in pending if status.name not in refused], refused)

    @property
    def has_accounting(self) -> bool:
        """Whether the cluster accounts jobs, so that sacct knows their ends."""
        return squeue.is_accounted(self._config) and shutil.which("sacct") is not None

    @cached_property
    def _config(self) -> dict[str, str]:
        return squeue.parse_config(self._output(squeue.config_command(self._settings.cluster)))

    def _controlled(self, jobs: Mapping[str, str]) -> dict[str, JobStatus | JobEnd]:
        """Query slurmctld for jobs, ids by name; a job whose id belongs to another name is not ours."""
        found: dict[tuple[str, str], JobStatus | JobEnd] = {}
        for job in jobs.values() if len(jobs) <= _MAX_SINGLE_QUERIES else [None]:
            result = self._run(squeue.scontrol_command(job, self._settings.cluster))
            if result.status and (job is None or not squeue.is_unknown_job(result.error_text)):
                raise SchedulerUnreachableError(f"scontrol failed: {result.error_line}")
            found |= squeue.parse_scontrol(result.output)
        return {name: found[name, job] for name, job in jobs.items() if (name, job) in found}

    def _accounted(self, jobs: Mapping[str, str]) -> dict[str, JobEnd]:
        """Query sacct for the ends of jobs, ids by name."""
        found: dict[tuple[str, str], JobEnd] = {}
        for ids in _chunks(list(jobs.values())):
            result = self._run(squeue.sacct_command(ids, self._settings.cluster))
            if result.status or ("sacct: error: " in result.errors and not result.output.strip()):
                raise SchedulerUnreachableError(f"sacct failed: {result.error_line}")
            found |= squeue.parse_sacct(result.output)
        return {name: found[name, job] for name, job in jobs.items() if (name, job) in found}

    def _scancel(self, jobs: Sequence[JobStatus], *options: str) -> dict[str, str]:
        """Run scancel; returns, by name, the reasons of jobs that it did not signal although they had not ended."""
        refused: dict[str, str] = {}
        for chunk in _chunks(jobs):
            ids = [job.job for job in chunk]
            result = self._run(squeue.scancel_command(ids, self._settings.cluster, *options))
            if result.status == 0:
                continue
            if result.status < 0 or classify(result.error_text) is ErrorClass.UNREACHABLE:
                raise SchedulerUnreachableError(f"scancel failed: {result.error_line}")
            reasons = squeue.parse_scancel(result.error_text) or dict.fromkeys(ids, result.error_line)
            refused |= {
                job.name: reasons[job.job]
                for job in chunk
                if job.job in reasons and reasons[job.job] not in squeue.HAS_ENDED
            }
        return refused

    def _run(self, command: Sequence[str]) -> CommandResult:
        return run_command(command, timeout=self._settings.command_timeout)

    def _output(self, command: Sequence[str]) -> str:
        return checked_output(command, timeout=self._settings.command_timeout)

    def _executor(self, group: Sequence[JobRequest]) -> SlurmExecutor:
        from aiperf_orch.schedulers.slurm.executor import SlurmExecutor  # queries do not import submitit

        return SlurmExecutor(group, self._script, lambda script: self._sbatch(script, len(group)))

    def _sbatch(self, script: Path, number: int) -> str:
        """Submit a script from its folder; returns the job's id.

        While the queue is full, sbatch retries for two minutes: it is killed as soon as it reports that. It is then
        sleeping, so that no request is on its way.

        Args:
            script: the batch script.
            number: how many jobs it submits.
        """
        command, timeout = ["sbatch", "--parsable", script.name], self._settings.command_timeout
        result = run_command(command, timeout=timeout, folder=script.parent, enough=is_retrying)
        job = result.output.strip().rpartition("\n")[2].partition(";")[0]
        if job.isdigit():
            return job
        error = classify(result.error_text)
        without_answer = result.status == 0 or result.status < 0 or result.status >= _KILLED
        if error is ErrorClass.QUEUE_FULL or (error is ErrorClass.TOO_MANY and number > 1):
            raise QueueFullError(result.error_line)
        if error is ErrorClass.PERMANENT:
            raise SubmitRefusedError(result.error_line)
        if error is ErrorClass.UNREACHABLE or without_answer:
            raise SchedulerUnreachableError(f"sbatch: {result.error_line}")
        raise SubmitPostponedError(result.error_line)

    def _script(self, requests: Sequence[JobRequest]) -> str:
        return slurm_script(self._settings, self._template, requests)


def _chunks(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _IDS_PER_CALL] for start in range(0, len(items), _IDS_PER_CALL)]
