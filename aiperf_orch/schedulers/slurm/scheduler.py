"""The scheduler Slurm: submits by submitit, asks squeue once for the whole campaign, and sacct or scontrol for causes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiperf_orch.config_schedulers import SlurmSettings
from aiperf_orch.errors import QueueFull, SchedulerUnreachable, SubmitRefused, UsageError
from aiperf_orch.schedulers.base import (
    AccountedJob,
    Cancellation,
    JobEnd,
    JobRequest,
    JobState,
    JobStatus,
    Scheduler,
    Submission,
    array_element,
)
from aiperf_orch.schedulers.command import Answer, ask, run_command
from aiperf_orch.schedulers.script import render_script, submitit_command
from aiperf_orch.schedulers.slurm import queue
from aiperf_orch.schedulers.slurm.reasons import Complaint, classify
from aiperf_orch.schedulers.submitting import submit_groups

if TYPE_CHECKING:
    from aiperf_orch.schedulers.slurm.executor import SlurmExecutor

PROGRAMS: Final = ("sbatch", "srun", "squeue", "scancel", "scontrol")
_IDS_A_CALL: Final = 500  # keeps command lines short


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

    def submit(self, requests: Sequence[JobRequest]) -> Submission:
        """Submit jobs, elements of one array by one call of sbatch, halved while a limit refuses the whole."""
        return submit_groups(requests, self._submit)

    def _submit(self, group: Sequence[JobRequest]) -> str:
        """Submit one job, or elements of one array. To avoid nodes is a wish: perhaps too few others are left."""
        try:
            return self._executor(group).submit_all()
        except SubmitRefused:
            if not any(request.exclude for request in group):
                raise
        return self._executor([replace(request, exclude=()) for request in group]).submit_all()

    def array_limit(self) -> int:
        """MaxArraySize: indices are below it."""
        size = self._config.get("MaxArraySize", "")
        return int(size) if size.isdigit() and int(size) > 1 else 1

    def release(self, names: Collection[str]) -> None:
        """Slurm frees an allocation itself."""

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """One squeue for all."""
        output = self._ask(queue.squeue_command(os.getuid(), self._settings.cluster))
        return queue.statuses(list(queue.parse_squeue(output)), names)

    def explain(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """By sacct where jobs are accounted, else what the controller still knows."""
        if not jobs:
            return {}
        ends = self._accounted(jobs) if self.has_accounting else {}
        ids = [job for job in jobs.values() if job not in ends]
        if ids:  # sacct learns of an end some seconds late, and the controller forgets it some minutes later
            # of one job by its id; of several, one listing loads the controller less than many questions
            answer = self._run(queue.scontrol_command(ids[0] if len(ids) == 1 else None, self._settings.cluster))
            if answer.status and classify(answer.complaint) is Complaint.UNREACHABLE:
                raise SchedulerUnreachable(f"Slurm does not answer: {answer.complaint}")
            ends |= queue.parse_scontrol(answer.output)
        return {name: ends[job] for name, job in jobs.items() if job in ends}

    def accounting(self, jobs: Mapping[str, str]) -> list[AccountedJob] | None:
        """What sacct knows, where jobs are accounted."""
        if not self.has_accounting:
            return None
        names = {job: name for name, job in jobs.items()}
        found = []
        for ids in _chunks(list(names)):
            found += queue.parse_accounting(self._ask(queue.accounting_command(ids, self._settings.cluster)), names)
        return found

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> Cancellation:
        """Cancel what waits, and send SIGTERM to what runs; with `force` cancel it too, which ends it after KillWait."""
        listed = self.query(jobs.keys())
        live = [status for status in listed.values() if status.state is not JobState.ENDED]
        waiting = [status for status in live if status.state is JobState.PENDING]
        running = [status.job for status in live if status.state is JobState.RUNNING]
        running += [job for name, job in jobs.items() if job is not None and name not in listed]
        # not --state=PENDING: of a waiting array's element that cancels the whole array
        self._scancel([status.job for status in waiting])
        self._scancel(running, *([] if force else ["--signal=TERM"]))
        return Cancellation(never=[status.name for status in waiting])

    @property
    def has_accounting(self) -> bool:
        """Whether jobs are accounted, so that sacct knows of their ends."""
        return queue.is_accounted(self._config) and shutil.which("sacct") is not None

    @cached_property
    def _config(self) -> dict[str, str]:
        return queue.parse_config(self._ask(queue.config_command(self._settings.cluster)))

    def _accounted(self, jobs: Mapping[str, str]) -> dict[str, JobEnd]:
        """What sacct knows; nothing when it does not answer: the controller may know all the same."""
        ends: dict[str, JobEnd] = {}
        for ids in _chunks(list(jobs.values())):
            answer = self._run(queue.sacct_command(ids, self._settings.cluster))
            if answer.status:
                return {}
            ends |= queue.parse_sacct(answer.output)
        return ends

    def _scancel(self, jobs: Sequence[str], *options: str) -> None:
        for ids in _chunks(jobs):
            command = ["scancel", "--quiet", *options, *queue.on_cluster(self._settings.cluster), *ids]
            answer = self._run(command)
            if answer.status and classify(answer.complaint) is Complaint.UNREACHABLE:
                raise SchedulerUnreachable(f"Slurm does not answer: {answer.complaint}")

    def _run(self, command: Sequence[str], folder: Path | None = None) -> Answer:
        return run_command(command, timeout=self._settings.command_timeout, folder=folder)

    def _ask(self, command: Sequence[str]) -> str:
        return ask(command, timeout=self._settings.command_timeout)

    def _executor(self, group: Sequence[JobRequest]) -> SlurmExecutor:
        from aiperf_orch.schedulers.slurm.executor import SlurmExecutor  # submitit: not for those who only ask

        return SlurmExecutor(group, self._script, self._sbatch)

    def _sbatch(self, script: Path) -> str:
        """Submit a script from the folder that it lies in; returns the job's id."""
        answer = self._run(["sbatch", "--parsable", script.name], folder=script.parent)
        job = answer.output.strip().partition(";")[0]
        if answer.status == 0 and job.isdigit():
            return job
        complaint = answer.complaint
        match classify(complaint):
            case Complaint.FULL:
                raise QueueFull(complaint)
            case Complaint.REFUSED if answer.status:
                raise SubmitRefused(complaint)
            case _:
                raise SchedulerUnreachable(f"sbatch: {complaint}")

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
            time_limit=queue.format_limit(first.time_limit or settings.time_limit),
            exclude=",".join([*([settings.exclude] if settings.exclude else []), *first.exclude]),
            after=first.after,
            site=settings,
            warn_before=int(settings.warn_before),
            command=submitit_command(settings.python, '"$folder"'),
        )


def _index(request: JobRequest) -> int | None:
    element = array_element(request.name)
    return element[1] if element else None


def _chunks(items: Sequence[str]) -> list[Sequence[str]]:
    return [items[start : start + _IDS_A_CALL] for start in range(0, len(items), _IDS_A_CALL)]
