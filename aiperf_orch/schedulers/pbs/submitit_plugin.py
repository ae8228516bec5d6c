"""submitit plugin for PBS Pro and OpenPBS: `submitit.AutoExecutor(folder, cluster="pbs")`.

submitit loads this module in every job of every executor, so it imports little. The plugin's own parameters avoid the
names of Slurm's parameters: AutoExecutor passes a name without a prefix to the last executor that has it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from submitit.core import core, utils

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.error_messages import PbsErrorClass, classify
from aiperf_orch.schedulers.pbs.job_lookup import IDS_PER_CALL, complete_output, look_up_jobs
from aiperf_orch.schedulers.pbs.submitit_base import StateWatcher, SubmitExecutor, VariablesEnvironment
from aiperf_orch.util.clock_time import format_clock_time
from aiperf_orch.util.errors import SchedulerUnreachableError, SubmitRefusedError
from aiperf_orch.util.job_files import LOG, PICKLE, SCRIPT

if TYPE_CHECKING:
    from aiperf_orch.schedulers.command import CommandResult

_TIMEOUT: Final = 120.0  # seconds for one command of PBS
_INTERVAL: Final = 0.13  # seconds between two commands: PBS accepts about 8 connections a second from one host
_MAX_UPDATE: Final = 30.0  # seconds for one query of all jobs
_DEFAULTS: Final[dict[str, Any]] = {
    "name": "submitit",
    "walltime_min": 60,
    "nodes": 1,
    "tasks_per_node": 1,
    "cpus": 1,
    "gpus": None,
    "memory": None,
    "queue": None,
    "account_string": None,
    "project": None,
    "chunk": None,
    "place": "scatter",
    "resource_lines": (),
    "directive_lines": (),
    "setup_lines": (),
    "launcher": "pbs_tmrsh",
    "launcher_options": (),
    "stderr_to_stdout": False,
}


class PbsInfoWatcher(StateWatcher):
    """Queries the registered jobs: one qstat for all live ones, and lookups by id for those that left the queue."""

    def query(self, jobs: set[str]) -> bool:
        """Query jobs; states stay as they are if qstat fails, or does not mention a job.

        Jobs that left the queue are looked up for at most half a minute; the rest is left to the next query.
        """
        complete = True
        with contextlib.suppress(SchedulerUnreachableError):
            answer = _run(qstat.list_command())
            if answer.status:
                raise SchedulerUnreachableError(answer.error_line)
            listed = {qstat.submitit_id(job.id): job for job in qstat.parse_jobs(complete_output(answer))}
            self.record({name: _state(job) for name, job in listed.items() if name in jobs})
            complete = self._query_unlisted(sorted(jobs - listed.keys()))
        return complete

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """State of a job: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, LEFT (no longer known) or UNKNOWN."""
        return self.get_info(job_id, mode=mode).get("State") or "UNKNOWN"

    def _query_unlisted(self, unlisted: list[str]) -> bool:
        """Look up jobs that left the queue; return whether there was time for all of them."""
        deadline = time.monotonic() + _MAX_UPDATE
        for start in range(0, len(unlisted), IDS_PER_CALL):
            if start and time.monotonic() >= deadline:
                return False
            jobs = unlisted[start : start + IDS_PER_CALL]
            known = look_up_jobs(_run, jobs)
            self.record({job: _state(known[job]) if job in known else "LEFT" for job in jobs})
        return True


class PbsJob(core.Job[core.R]):
    """A PBS job, identified by the number of its id."""

    watcher = PbsInfoWatcher()

    def cancel(self, check: bool = True) -> None:
        """Delete the job. A job that has ended is no error, as in submitit's plugin for Slurm.

        Args:
            check: whether to raise errors.

        Raises:
            SchedulerUnreachableError: with `check`, if PBS did not answer in time.
            FailedJobError: with `check`, if qdel failed.
        """
        time.sleep(_INTERVAL)
        try:
            answer = _run(["qdel", self.job_id])
        except SchedulerUnreachableError:
            if check:
                raise
            return
        if check and answer.status and classify("qdel", answer) is not PbsErrorClass.JOB_GONE:
            raise utils.FailedJobError(f"qdel {self.job_id} failed with {answer.status}: {answer.error_line}")


class PbsJobEnvironment(VariablesEnvironment):
    """Description of the running job, from the variables that our batch script exports."""

    variables: ClassVar[dict[str, str]] = {
        "job_id": "SUBMITIT_PBS_JOB_ID",
        "num_tasks": "SUBMITIT_PBS_NTASKS",
        "num_nodes": "SUBMITIT_PBS_NNODES",
        "node": "SUBMITIT_PBS_NODE",
        "nodes": "SUBMITIT_PBS_HOSTS",
        "global_rank": "SUBMITIT_PBS_RANK",
        "local_rank": "SUBMITIT_PBS_LOCAL_RANK",
    }

    @property
    def hostnames(self) -> Sequence[str]:
        """Hosts of the allocation."""
        return [host for host in os.environ.get("SUBMITIT_PBS_HOSTS", "").split(",") if host] or [self.hostname]

    def requeue(self) -> None:
        """Fail: PBS lets no user requeue a job."""
        raise utils.UncompletedJobError(f"PBS lets no user requeue job {self.job_id}: submit the function again")


class PbsExecutor(SubmitExecutor):
    """Submits functions as PBS jobs, one qsub each; the pickle is written before qsub is called.

    Args:
        folder: folder for the folders of the jobs, shared with the nodes. If it contains submitit's `%j` (or `%A`), the
            results and logs of each job are in the folder named after its id, and the files that are written before
            the id is known are in `pbs_jobs` beside it.
        max_num_timeout: how often submitit submits a function again that reached its time limit.
        python: shell command of the interpreter in the job; None for this one.

    Raises:
        ValueError: if the folder contains `%a` or `%t`: no job is an array element, and its tasks share a folder.
    """

    job_class = PbsJob
    defaults = _DEFAULTS
    common_parameters: ClassVar[core.EquivalenceDict] = {
        "name": "name",
        "timeout_min": "walltime_min",
        "mem_gb": "memory",
        "nodes": "nodes",
        "cpus_per_task": "cpus",
        "gpus_per_node": "gpus",
        "tasks_per_node": "tasks_per_node",
    }

    def __init__(self, folder: Path | str, max_num_timeout: int = 0, python: str | None = None) -> None:
        super().__init__(folder, max_num_timeout, _INTERVAL)
        wrong = sorted(set(re.findall("%[at]", str(self.folder))))
        if wrong:
            raise ValueError(f"{self.folder}: the folder of PBS jobs may contain %j, but not {' or '.join(wrong)}")
        self._named_by_id = bool(re.search("%[jA]", str(self.folder)))
        self.python = shlex.quote(sys.executable) if python is None else python

    @classmethod
    def name(cls) -> str:
        """Name of the cluster for AutoExecutor, and in the environment of the job."""
        return "pbs"

    @classmethod
    def affinity(cls) -> int:
        """Above 0 if there is a qsub; lower than that of Slurm, which often comes with a wrapper named qsub."""
        return 1 if shutil.which("qsub") and shutil.which("qstat") else -1

    def convert_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Convert the memory from GB to the amount that PBS expects."""
        if isinstance(parameters.get("memory"), int | float):
            parameters["memory"] = f"{int(parameters['memory'] * 1024)}mb"
        return parameters

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Refuse unknown parameters, and list the valid ones."""
        unknown = sorted(set(parameters) - set(_DEFAULTS))
        if unknown:
            valid = "\n".join(f"  - {name} (default: {value!r})" for name, value in sorted(_DEFAULTS.items()))
            raise ValueError(f"Unavailable parameter(s): {unknown}\nValid parameters are:\n{valid}")

    def submit_delayed(self, delayed: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        """Submit functions, one after the other."""
        jobs: list[core.Job[Any]] = []
        for each in delayed:
            try:
                jobs.append(self._submit_one(each))
            except Exception as error:
                if not jobs:
                    raise
                # for example at a site's limit on queued jobs: the caller gets no other list of the accepted jobs
                accepted = " ".join(job.job_id for job in jobs)
                message = f"{error}; submitted before it, and still in PBS: {accepted}"
                raise utils.FailedSubmissionError(message) from error
        return jobs

    def job_folder(self) -> Path:
        """Make a folder for the next job; its name cannot contain the job id, which is not known yet."""
        parent = self.folder
        if self._named_by_id:
            parent = utils.JobPaths.get_first_id_independent_folder(self.folder) / "pbs_jobs"
        parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10**9):
            folder = parent / f"{number:05d}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("a folder with a billion jobs")

    def qsub(self, folder: Path) -> str:
        """Submit the batch script in a folder; return the full job id."""
        answer = _run(["qsub", SCRIPT], folder)
        if answer.status:
            raise utils.FailedJobError(f"qsub failed with {answer.status}: {answer.error_line}")
        job = qstat.parse_submitted_id(answer.output)
        if job is None:
            raise utils.FailedSubmissionError(f"qsub printed no job id: {answer.output!r}")
        return job

    def render(self, folder: Path) -> str:
        """Render the batch script of the job with this folder."""
        from aiperf_orch.schedulers.script_rendering import render_script

        values = {name: self._parameter(name) for name in _DEFAULTS}
        job = SimpleNamespace(
            **values,
            account=values["account_string"],
            resources=values["resource_lines"],
            directives=values["directive_lines"],
            setup=values["setup_lines"],
            modules=(),
            container=None,
            mail_user=None,
            requeue=False,
        )
        job.cpus *= job.tasks_per_node  # of a node, as PBS counts
        results = self.folder if self._named_by_id else folder
        return render_script(
            "pbs.sh.j2",
            None,
            name=values["name"],
            job=job,
            tasks_per_node=job.tasks_per_node,
            walltime=walltime(values["walltime_min"] * 60),
            after=None,
            campaign=None,
            folder=str(folder),
            own_folder=self.folder if self._named_by_id else None,
            log=LOG,
            output="pbs.log",
            warn_after=None,
            command=f"{self.python} -u -m submitit.core._submit {shlex.quote(str(results))}",
        )

    def _submit_one(self, delayed: utils.DelayedSubmission) -> core.Job[Any]:
        self.throttle()
        folder = self.job_folder()
        delayed.set_timeout(self._parameter("walltime_min"), self.max_num_timeout)
        delayed.dump(folder / PICKLE)
        (folder / SCRIPT).write_text(self.render(folder), encoding="utf-8")
        number = qstat.submitit_id(self.qsub(folder))
        tasks = range(int(self._parameter("nodes") * self._parameter("tasks_per_node")))
        job = self.job_class(self.folder if self._named_by_id else folder, number, list(tasks))
        if self._named_by_id:
            job.paths.folder.mkdir(parents=True, exist_ok=True)
            for path, file in ((job.paths.submitted_pickle, PICKLE), (job.paths.submission_file, SCRIPT)):
                with contextlib.suppress(FileExistsError):  # the running job was faster
                    path.symlink_to(folder / file)
        return job

    def _parameter(self, name: str) -> Any:
        return self.parameters.get(name, _DEFAULTS[name])


class CampaignExecutor(PbsExecutor):
    """Executor for one job of a campaign, whose folder, script and submission the scheduler provides.

    Args:
        folder: folder of the job.
        render: renders the batch script.
        qsub: submits the script in a folder, and returns the full job id.

    Raises:
        SubmitRefusedError: if the folder contains a `%`, which submitit would replace.
    """

    def __init__(self, folder: Path, render: Callable[[], str], qsub: Callable[[Path], str]) -> None:
        if "%" in str(folder):
            raise SubmitRefusedError(f"{folder}: submitit replaces a % in a path: use a directory without one")
        super().__init__(folder)
        self._render, self._qsub = render, qsub
        self.full_id = ""

    def job_folder(self) -> Path:
        """Return the folder of the job."""
        return self.folder

    def throttle(self) -> None:
        """Do nothing: the scheduler limits the rate of its commands itself."""

    def qsub(self, folder: Path) -> str:
        """Submit the script and keep the full job id."""
        self.full_id = self._qsub(folder)
        return self.full_id

    def render(self, folder: Path) -> str:  # noqa: ARG002  as in the base class
        """Render the script."""
        return self._render()


def _run(command: list[str], folder: Path | None = None) -> CommandResult:
    """Run a command of PBS.

    Raises:
        SchedulerUnreachableError: if the command cannot be run, or exceeds the time limit.
    """
    from aiperf_orch.schedulers.command import run_command  # not needed in jobs

    return run_command(command, timeout=_TIMEOUT, folder=folder)


def walltime(seconds: float) -> str:
    """Format a time limit in seconds for qsub as `HH:MM:SS`; at least one minute."""
    return format_clock_time(seconds, days=False)


def _state(job: qstat.QstatJob) -> str:
    """Translate the state of a job to submitit's name for it."""
    if job.state in qstat.PENDING_STATES:
        return "PENDING"
    if job.state in qstat.RUNNING_STATES:
        return "RUNNING"
    if job.state not in qstat.ENDED_STATES:
        return "UNKNOWN"
    if job.substate == qstat.SUBSTATE_DELETED or job.exit_status is None:
        return "CANCELLED"
    return "COMPLETED" if job.exit_status == 0 else "FAILED"
