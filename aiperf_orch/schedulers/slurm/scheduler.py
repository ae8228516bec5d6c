"""The scheduler Slurm: submits by submitit, asks squeue once for the whole campaign, and scontrol and sacct for the rest."""

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
    array_element,
)
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.schedulers.command import CommandResult, ask, run_command
from aiperf_orch.schedulers.script_rendering import render_script, submitit_command
from aiperf_orch.schedulers.slurm import squeue
from aiperf_orch.schedulers.slurm.error_messages import ErrorClass, classify, is_waiting
from aiperf_orch.settings.schedulers import SlurmSettings
from aiperf_orch.util.errors import (
    QueueFullError,
    SchedulerUnreachableError,
    SubmitPostponedError,
    SubmitRefusedError,
    UsageError,
)

if TYPE_CHECKING:
    from aiperf_orch.schedulers.slurm.executor import SlurmExecutor

Item = TypeVar("Item")

PROGRAMS: Final = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_IDS_A_CALL: Final = 500  # keeps command lines short
_MOST_QUESTIONS: Final = 8  # of scontrol, of a job each; of more, one listing loads slurmctld less


class SlurmScheduler(Scheduler):
    """Runs each trial as a Slurm job."""

    avoids_nodes = True

    def __init__(self, settings: SlurmSettings) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self.query_interval = settings.query_interval
        self.lookahead = settings.lookahead

    def check(self, concurrency: int) -> list[str]:  # noqa: ARG002  what a user may have is Slurm's to say
        """Refuse a machine without Slurm's programs, or whose controller does not answer."""
        missing = [program for program in PROGRAMS if not shutil.which(program)]
        if missing:
            raise UsageError(f"scheduler.kind: slurm, but {', '.join(missing)}: not found: is this a login node?")
        _ = self._config
        return []

    def render(self, request: JobRequest) -> str:
        """The script of one job."""
        return self._script([request])

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Submit jobs, elements of one array by one call of sbatch, halved while a limit refuses the whole."""
        return submit_groups(requests, self._submit)

    def _submit(self, group: Sequence[JobRequest]) -> str:
        """Submit one job, or elements of one array. To avoid nodes is a wish: perhaps too few others are left."""
        try:
            return self._executor(group).submit_all()
        except SubmitRefusedError:
            if not any(request.exclude for request in group):
                raise
        return self._executor([replace(request, exclude=()) for request in group]).submit_all()

    def array_limit(self) -> int:
        """MaxArraySize: indices are below it."""
        size = self._config.get("MaxArraySize", "")
        return int(size) if size.isdigit() and int(size) > 1 else 1

    def release_resources(self, names: Collection[str]) -> None:
        """Slurm frees an allocation itself."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """One squeue for all."""
        answer = self._run(squeue.squeue_command(os.getuid(), self._settings.cluster))
        if answer.status or "slurm_load_jobs error" in answer.errors:  # of one of several clusters it ends with 0
            raise SchedulerUnreachableError(f"squeue failed: {answer.error_line}")
        return squeue.statuses(list(squeue.parse_squeue(answer.output)), names)

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """By scontrol whether they live, and by sacct, where jobs are accounted, why they have ended.

        What slurmctld does not know does not live, whatever sacct says: it still calls jobs running that were lost.
        """
        known = self._controlled(jobs)
        ended = {name: job for name, job in jobs.items() if not isinstance(known.get(name), JobStatus)}
        if ended and self.has_accounting:
            try:
                # sacct knows of the steps, and of jobs that slurmctld has forgotten; but of an end some seconds late
                known |= self._accounted(ended)
            except SchedulerUnreachableError:
                if ended.keys() - known.keys():
                    raise
        return known

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:
        """What sacct knows, where jobs are accounted."""
        if not self.has_accounting:
            return None
        names = {job: name for name, job in jobs.items()}
        found = []
        for ids in _chunks(list(names)):
            found += squeue.parse_accounting(self._ask(squeue.accounting_command(ids, self._settings.cluster)), names)
        return found

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Cancel what waits, and send SIGTERM to what runs; with `force` cancel it too, which ends it after KillWait."""
        listed = self.query(jobs.keys())
        hidden = {name: job for name, job in jobs.items() if job is not None and name not in listed}
        known = [*listed.values(), *self._controlled(hidden).values()]
        live = [each for each in known if isinstance(each, JobStatus) and each.state is not JobState.ENDED]
        waiting = [status for status in live if status.state is JobState.PENDING]
        running = [status for status in live if status.state is JobState.RUNNING]
        # not --state=PENDING: of a waiting array's element that cancels the whole array
        refused = self._scancel(waiting) | self._scancel(running, *([] if force else ["--signal=TERM"]))
        return CancelResult([status.name for status in waiting if status.name not in refused], refused)

    @property
    def has_accounting(self) -> bool:
        """Whether jobs are accounted, so that sacct knows of their ends."""
        return squeue.is_accounted(self._config) and shutil.which("sacct") is not None

    @cached_property
    def _config(self) -> dict[str, str]:
        return squeue.parse_config(self._ask(squeue.config_command(self._settings.cluster)))

    def _controlled(self, jobs: Mapping[str, str]) -> dict[str, JobStatus | JobEnd]:
        """What slurmctld knows of jobs, ids by name. One whose id has another name by now is not ours."""
        found: dict[tuple[str, str], JobStatus | JobEnd] = {}
        for job in jobs.values() if len(jobs) <= _MOST_QUESTIONS else [None]:
            answer = self._run(squeue.scontrol_command(job, self._settings.cluster))
            if answer.status and (job is None or not squeue.is_unknown(answer.error_text)):
                raise SchedulerUnreachableError(f"scontrol failed: {answer.error_line}")
            found |= squeue.parse_scontrol(answer.output)
        return {name: found[name, job] for name, job in jobs.items() if (name, job) in found}

    def _accounted(self, jobs: Mapping[str, str]) -> dict[str, JobEnd]:
        """What sacct knows of the ends of jobs, ids by name."""
        found: dict[tuple[str, str], JobEnd] = {}
        for ids in _chunks(list(jobs.values())):
            answer = self._run(squeue.sacct_command(ids, self._settings.cluster))
            if answer.status or ("sacct: error: " in answer.errors and not answer.output.strip()):
                raise SchedulerUnreachableError(f"sacct failed: {answer.error_line}")
            found |= squeue.parse_sacct(answer.output)
        return {name: found[name, job] for name, job in jobs.items() if (name, job) in found}

    def _scancel(self, jobs: Sequence[JobStatus], *options: str) -> dict[str, str]:
        """Tell jobs; returns why, by name, those are not told that could have been."""
        refused: dict[str, str] = {}
        for chunk in _chunks(jobs):
            ids = [job.job for job in chunk]
            answer = self._run(squeue.scancel_command(ids, self._settings.cluster, *options))
            if answer.status == 0:
                continue
            if answer.status < 0 or classify(answer.error_text) is ErrorClass.UNREACHABLE:
                raise SchedulerUnreachableError(f"scancel failed: {answer.error_line}")
            why = squeue.parse_scancel(answer.error_text) or dict.fromkeys(ids, answer.error_line)
            refused |= {job.name: why[job.job] for job in chunk if job.job in why and why[job.job] not in squeue.GONE}
        return refused

    def _run(self, command: Sequence[str]) -> CommandResult:
        return run_command(command, timeout=self._settings.command_timeout)

    def _ask(self, command: Sequence[str]) -> str:
        return ask(command, timeout=self._settings.command_timeout)

    def _executor(self, group: Sequence[JobRequest]) -> SlurmExecutor:
        from aiperf_orch.schedulers.slurm.executor import SlurmExecutor  # submitit: not for those who only ask

        return SlurmExecutor(group, self._script, lambda script: self._sbatch(script, len(group)))

    def _sbatch(self, script: Path, number: int) -> str:
        """Submit a script of so many jobs from the folder that it lies in; returns the id.

        Where the queue is full, sbatch would try again by itself for two minutes: it is ended as soon as it says so. It
        then sleeps, so that nothing is on its way.
        """
        command, timeout = ["sbatch", "--parsable", script.name], self._settings.command_timeout
        answer = run_command(command, timeout=timeout, folder=script.parent, enough=is_waiting)
        job = answer.output.strip().rpartition("\n")[2].partition(";")[0]
        if job.isdigit():
            return job
        complaint = classify(answer.error_text)
        lost = answer.status == 0 or answer.status < 0 or answer.status >= 128
        if complaint is ErrorClass.FULL or (complaint is ErrorClass.FEWER and number > 1):
            raise QueueFullError(answer.error_line)
        if complaint is ErrorClass.FOR_GOOD:
            raise SubmitRefusedError(answer.error_line)
        if complaint is ErrorClass.UNREACHABLE or lost:
            raise SchedulerUnreachableError(f"sbatch: {answer.error_line}")
        raise SubmitPostponedError(answer.error_line)

    def _script(self, requests: Sequence[JobRequest]) -> str:
        first, settings = requests[0], self._settings
        element = array_element(first.name)
        elements = {index: each.folder for each in requests if (index := _index(each)) is not None}
        return render_script(
            "slurm.sh.j2",
            settings.template,
            name=element[0] if element else first.name,
            campaign=first.campaign,
            folder=first.folder,
            elements=elements,
            time_limit=squeue.format_limit(first.time_limit or settings.time_limit),
            exclude=",".join([*([settings.exclude] if settings.exclude else []), *first.exclude]),
            after=first.after,
            site=settings,
            warn_before=int(settings.warn_before),
            command=submitit_command(settings.python, '"$folder"'),
        )


def _index(request: JobRequest) -> int | None:
    element = array_element(request.name)
    return element[1] if element else None


def _chunks(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _IDS_A_CALL] for start in range(0, len(items), _IDS_A_CALL)]
