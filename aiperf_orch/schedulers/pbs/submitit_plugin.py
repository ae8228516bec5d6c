"""A submitit plugin for PBS Pro and OpenPBS: `submitit.AutoExecutor(folder, cluster="pbs")`.

submitit loads this module in every job of every executor, so it imports little. The plugin's own parameters avoid
Slurm's names: AutoExecutor maps a name without a prefix to the last executor that knows it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from submitit.core import core, job_environment, utils

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.error_messages import Meaning, meaning_of
from aiperf_orch.schedulers.pbs.job_lookup import IDS_A_CALL, look_up, whole
from aiperf_orch.util.clock_time import format_clock_time
from aiperf_orch.util.errors import SchedulerUnreachableError, SubmitRefusedError
from aiperf_orch.util.job_files import LOG, PICKLE, SCRIPT

if TYPE_CHECKING:
    from aiperf_orch.schedulers.command import CommandResult

_TIMEOUT: Final = 120.0  # seconds that a command of PBS may take
_PACE: Final = 0.13  # seconds between two commands: PBS takes about 8 connections a second from one host
_LONGEST_UPDATE: Final = 30.0  # seconds that one look at the jobs may take
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


class PbsInfoWatcher(core.InfoWatcher):
    """Asks qstat after the jobs that are registered: once for all that live, and for the ends of those that left."""

    def update(self) -> None:
        """Ask, and remember the states; an answer that does not come, or that says nothing of a job, changes nothing.

        What has not been learnt within half a minute is asked for at the next look, which then is due at once.
        """
        wanted = self._registered - self._finished
        if not wanted:
            return
        self._num_calls += 1
        learnt = True
        with contextlib.suppress(SchedulerUnreachableError):
            answer = _run(qstat.list_command())
            if answer.status:
                raise SchedulerUnreachableError(answer.error_line)
            living = {qstat.submitit_id(job.id): job for job in qstat.parse_jobs(whole(answer))}
            self._info_dict.update({name: {"State": _state(job)} for name, job in living.items() if name in wanted})
            learnt = self._learn_ends(sorted(wanted - living.keys()))
        self._last_status_check = time.time() if learnt else float("-inf")
        self._finished |= {job for job in wanted if self.is_done(job, mode="cache")}

    def get_state(self, job_id: str, mode: str = "standard") -> str:
        """A state in submitit's words: PENDING, RUNNING, COMPLETED, FAILED, CANCELLED, LEFT (no longer known), UNKNOWN."""
        return self.get_info(job_id, mode=mode).get("State") or "UNKNOWN"

    def _learn_ends(self, left: list[str]) -> bool:
        """Learn of jobs that the queue does not list; whether there was time for all of them."""
        deadline = time.monotonic() + _LONGEST_UPDATE
        for start in range(0, len(left), IDS_A_CALL):
            if start and time.monotonic() >= deadline:
                return False
            jobs = left[start : start + IDS_A_CALL]
            known = look_up(_run, jobs)
            self._info_dict.update({job: {"State": _state(known[job]) if job in known else "LEFT"} for job in jobs})
        return True


class PbsJob(core.Job[core.R]):
    """A job of PBS, by submitit's form of its id."""

    _cancel_command = "qdel"
    watcher = PbsInfoWatcher()

    def cancel(self, check: bool = True) -> None:
        """Delete the job. One that has ended is no error, as for Slurm's plugin, though qdel says so.

        Raises:
            SchedulerUnreachableError: with `check`, when PBS did not answer, as when a command took too long.
            FailedJobError: with `check`, when qdel refused.
        """
        time.sleep(_PACE)
        try:
            answer = _run([self._cancel_command, self.job_id])
        except SchedulerUnreachableError:
            if check:
                raise
            return
        if check and answer.status and meaning_of("qdel", answer) is not Meaning.GONE:
            raise utils.FailedJobError(f"qdel {self.job_id} ended with {answer.status}: {answer.error_line}")


class PbsJobEnvironment(job_environment.JobEnvironment):
    """What a job knows of itself, from the variables that our batch script sets."""

    _env: ClassVar[dict[str, str]] = {
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
        """The hosts of the allocation."""
        return [host for host in os.environ.get("SUBMITIT_PBS_HOSTS", "").split(",") if host] or [self.hostname]

    def _requeue(self, countdown: int) -> None:  # noqa: ARG002  submitit's signature
        raise utils.UncompletedJobError(f"PBS lets no owner requeue job {self.job_id}: submit the function again")


class PbsExecutor(core.PicklingExecutor):
    """Submits functions as PBS jobs, one qsub each. The pickle is in its place before qsub is called.

    Parameters:
        folder: for the jobs' folders, shared with the nodes. With submitit's `%j` (or `%A`) in it each job's results and
            logs are in the folder of its id; what lies there before there is an id is in `pbs_jobs` beside it.
        python: the interpreter in the job, this one by default.

    Raises:
        ValueError: for `%a` or `%t` in the folder: each job is one of its own, and its tasks share a folder.
    """

    job_class = PbsJob

    def __init__(self, folder: Path | str, max_num_timeout: int = 0, python: str | None = None) -> None:
        super().__init__(folder, max_num_timeout=max_num_timeout)
        wrong = sorted(set(re.findall("%[at]", str(self.folder))))
        if wrong:
            raise ValueError(f"{self.folder}: the folder of PBS jobs may contain %j, but not {' or '.join(wrong)}")
        self._named_by_id = bool(re.search("%[jA]", str(self.folder)))
        self.python = shlex.quote(sys.executable) if python is None else python
        self._throttling = _PACE

    @classmethod
    def name(cls) -> str:
        """The cluster's name for AutoExecutor, and in the job's environment."""
        return "pbs"

    @classmethod
    def affinity(cls) -> int:
        """Above 0 where there is a qsub; below Slurm's, whose wrappers of qsub are common."""
        return 1 if shutil.which("qsub") and shutil.which("qstat") else -1

    @classmethod
    def _equivalence_dict(cls) -> core.EquivalenceDict:
        return {
            "name": "name",
            "timeout_min": "walltime_min",
            "mem_gb": "memory",
            "nodes": "nodes",
            "cpus_per_task": "cpus",
            "gpus_per_node": "gpus",
            "tasks_per_node": "tasks_per_node",
        }

    @classmethod
    def _valid_parameters(cls) -> set[str]:
        return set(_DEFAULTS)

    def _convert_parameters(self, params: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = super()._convert_parameters(params)
        if isinstance(converted.get("memory"), int | float):
            converted["memory"] = f"{int(converted['memory'] * 1024)}mb"
        return converted

    def _internal_update_parameters(self, **kwargs: Any) -> None:
        unknown = sorted(set(kwargs) - set(_DEFAULTS))
        if unknown:
            valid = "\n".join(f"  - {name} (default: {value!r})" for name, value in sorted(_DEFAULTS.items()))
            raise ValueError(f"Unavailable parameter(s): {unknown}\nValid parameters are:\n{valid}")
        super()._internal_update_parameters(**kwargs)

    def _internal_process_submissions(self, delayed_submissions: list[utils.DelayedSubmission]) -> list[core.Job[Any]]:
        jobs: list[core.Job[Any]] = []
        for delayed in delayed_submissions:
            try:
                jobs.append(self._submit_delayed(delayed))
            except Exception as error:
                if not jobs:
                    raise
                # as at a site's limit of jobs a user: nobody else would tell which jobs there are
                before = " ".join(job.job_id for job in jobs)
                raise utils.FailedSubmissionError(f"{error}; submitted before it, and still there: {before}") from error
        return jobs

    def _submit_delayed(self, delayed: utils.DelayedSubmission) -> core.Job[Any]:
        self._throttle()
        self._last_job_submitted = time.time()
        folder = self._job_folder()
        delayed.set_timeout(self._parameter("walltime_min"), self.max_num_timeout)
        delayed.dump(folder / PICKLE)
        (folder / SCRIPT).write_text(
            self._make_submission_file_text(self._command_in(folder), str(folder)), encoding="utf-8"
        )
        number = qstat.submitit_id(self._qsub(folder))
        job = self.job_class(self.folder if self._named_by_id else folder, number, list(range(self._num_tasks())))
        if self._named_by_id:
            job.paths.folder.mkdir(parents=True, exist_ok=True)
            for there, file in ((job.paths.submitted_pickle, PICKLE), (job.paths.submission_file, SCRIPT)):
                with contextlib.suppress(FileExistsError):  # the job has begun
                    there.symlink_to(folder / file)
        return job

    def _job_folder(self) -> Path:
        """A new folder of the next job's own: a script gives its pickle the job's id only in the job."""
        above = self.folder
        if self._named_by_id:
            above = utils.JobPaths.get_first_id_independent_folder(self.folder) / "pbs_jobs"
        above.mkdir(parents=True, exist_ok=True)
        for number in range(1, 10**9):
            folder = above / f"{number:05d}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                continue
            return folder
        raise AssertionError("a folder with a billion jobs")

    def _qsub(self, folder: Path) -> str:
        answer = _run(self._make_submission_command(Path(SCRIPT)), folder)
        if answer.status:
            raise utils.FailedJobError(f"qsub ended with {answer.status}: {answer.error_line}")
        return self._get_job_id_from_submission_command(answer.output)

    def _command_in(self, folder: Path) -> str:
        results = self.folder if self._named_by_id else folder
        return f"{self.python} -u -m submitit.core._submit {shlex.quote(str(results))}"

    def _parameter(self, name: str) -> Any:
        return self.parameters.get(name, _DEFAULTS[name])

    def _num_tasks(self) -> int:
        return int(self._parameter("nodes") * self._parameter("tasks_per_node"))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        return ["qsub", str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        text = string.decode() if isinstance(string, bytes) else string
        job = qstat.submitted_id(text)
        if job is None:
            raise utils.FailedSubmissionError(f"qsub printed no job id: {text!r}")
        return job

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        """The script of the job whose folder is `uid`: submitit's name for what is unique."""
        from aiperf_orch.schedulers.script_rendering import render_script

        given = {name: self._parameter(name) for name in _DEFAULTS}
        job = SimpleNamespace(
            **given,
            account=given["account_string"],
            resources=given["resource_lines"],
            directives=given["directive_lines"],
            setup=given["setup_lines"],
            modules=(),
            container=None,
            mail_user=None,
            requeue=False,
        )
        job.cpus *= job.tasks_per_node  # of a node, as PBS counts
        return render_script(
            "pbs.sh.j2",
            None,
            name=given["name"],
            job=job,
            tasks_per_node=job.tasks_per_node,
            walltime=walltime(given["walltime_min"] * 60),
            after=None,
            campaign=None,
            folder=uid,
            own_folder=self.folder if self._named_by_id else None,
            log=LOG,
            output="pbs.log",
            warn_after=None,
            command=command,
        )


class CampaignExecutor(PbsExecutor):
    """The executor for one job whose folder, script and submission are given: how the scheduler submits a trial."""

    def __init__(self, folder: Path, render: Callable[[], str], qsub: Callable[[Path], str]) -> None:
        if "%" in str(folder):
            raise SubmitRefusedError(
                f"{folder}: submitit fills in what follows a % in a path: use a directory without one"
            )
        super().__init__(folder)
        self._render, self._given_qsub = render, qsub
        self.full_id = ""

    def _job_folder(self) -> Path:
        return self.folder

    def _throttle(self) -> None:
        """The scheduler's commands are paced already."""

    def _qsub(self, folder: Path) -> str:
        self.full_id = self._given_qsub(folder)
        return self.full_id

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002  submitit's signature
        return self._render()


def _run(command: list[str], folder: Path | None = None) -> CommandResult:
    """Run a command of PBS; raises SchedulerUnreachableError when it cannot be run, or takes too long."""
    from aiperf_orch.schedulers.command import run_command  # not for jobs

    return run_command(command, timeout=_TIMEOUT, folder=folder)


def walltime(seconds: float) -> str:
    """A time limit as qsub reads it, `HH:MM:SS`, not shorter than a minute."""
    return format_clock_time(seconds, days=False)


def _state(job: qstat.Job) -> str:
    """A job's state in submitit's words."""
    if job.state in qstat.WAITING:
        return "PENDING"
    if job.state in qstat.RUNNING:
        return "RUNNING"
    if job.state not in qstat.ENDED:
        return "UNKNOWN"
    if job.substate == qstat.DELETED or job.exit_status is None:
        return "CANCELLED"
    return "COMPLETED" if job.exit_status == 0 else "FAILED"
