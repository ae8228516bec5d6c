"""The local scheduler: jobs are processes of this machine, each bound to its own cores and, if requested, GPUs.

Built on submitit's local executor, with our batch script in place of its process tree. The queue is the process table:
every process of a job carries the job's name in its environment, so that a new controller finds the jobs of an earlier
one, and a reused process id is never mistaken for a job.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import submitit

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobRequest, JobState, JobStatus, Scheduler, SubmitResult
from aiperf_orch.schedulers.batch_scripts import local_script
from aiperf_orch.schedulers.submitit_adapter import ScriptLocalExecutor
from aiperf_orch.settings.schedulers import LocalSettings
from aiperf_orch.util import gpus
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.job_files import LOG, SCRIPT

logger = logging.getLogger(__name__)

_NAME: Final = "AIPERF_ORCH_JOB"
_CPUS: Final = "AIPERF_ORCH_CPUS"
_GPUS: Final = "AIPERF_ORCH_GPUS"


@dataclass(frozen=True, slots=True)
class _Share:
    """Resources that a job is bound to: core numbers, and GPUs as in CUDA_VISIBLE_DEVICES."""

    cpus: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> _Share:
        """Read the share of a job from the environment of one of its processes."""
        return cls(*(tuple(filter(None, environment.get(name, "").split(","))) for name in (_CPUS, _GPUS)))

    @property
    def environment(self) -> dict[str, str]:
        """Variables from which other controllers read the share."""
        return {_CPUS: ",".join(self.cpus), _GPUS: ",".join(self.gpus)}


class LocalExecutor(ScriptLocalExecutor):
    """submitit's local executor, starting our batch script in its own session."""

    def __init__(self, request: JobRequest, script: str, share: _Share) -> None:
        super().__init__(folder=request.folder)
        self._request, self._script, self._share = request, script, share
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def name(cls) -> str:
        """Return the executor's name in the job's environment."""
        return "local"

    def start_job(self) -> submitit.LocalJob[Any]:
        """Write the batch script and start it; its process id is the job's id."""
        request = self._request
        script = request.folder / SCRIPT
        script.write_text(self._script, encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SUBMITIT_")}
        environment |= {_NAME: request.name, **self._share.environment}
        with (request.folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", str(script)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        logger.debug("job %s started: bash %s, process %d", request.name, script, self.process.pid)
        return submitit.LocalJob(folder=self.folder, job_id=str(self.process.pid), process=self.process)


@dataclass(frozen=True, slots=True)
class _JobProcess:
    """A process of a job in the process table."""

    process: psutil.Process
    name: str
    share: _Share


class LocalScheduler(Scheduler):
    """Starts jobs on this machine immediately. No job is ever pending, so `JobRequest.after` is ignored."""

    nonblocking = True

    def __init__(self, settings: LocalSettings, template: str = "local.sh.j2") -> None:
        """Start no job yet.

        Args:
            settings: settings of the jobs.
            template: name of our template of the batch script.
        """
        self._settings, self._template = settings, template
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._released: set[str] = set()
        """Jobs whose resources are free although processes of them may still exit."""
        self._lock = threading.Lock()
        """Held while `_started` changes, and while its processes are reaped or signalled: reaped ids are reused."""

    def succeed(self, former: Scheduler) -> None:
        """Take over the processes that another object has started: only their parent learns how they end."""
        if isinstance(former, LocalScheduler):
            self._started, self._released = former._started, former._released

    def check(self, concurrency: int) -> list[str]:
        """Refuse trials that need more than this machine has, and warn where trials will share cores or GPUs."""
        if self._settings.python and not shutil.which(self._settings.python):
            raise UsageError(f"scheduler.python: {self._settings.python}: not found on this machine")
        warnings = []
        for what, key, wanted, available in (
            ("cores", "cores_per_trial", self._settings.cores_per_trial, len(available_cores())),
            ("GPUs", "gpus_per_trial", self._settings.gpus_per_trial or 0, len(available_gpus())),
        ):
            if wanted > available:
                raise UsageError(
                    f"scheduler.{key}: a trial needs {wanted} {what}, and {available} are available on this machine"
                )
            total = concurrency * wanted
            if total > available:
                warnings.append(
                    f"{concurrency} concurrent trials need {total} {what}, and {available} are available: they share"
                )
        return warnings

    def render(self, request: JobRequest) -> str:
        """Return the script with the resources that are free now."""
        # without an executor, which would create the job's folder
        return self._script(request, self._free_share())

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Start jobs, each on unused cores and GPUs; without unused ones, on those that the fewest jobs use."""
        done = SubmitResult()
        for request in requests:
            share = self._free_share()
            executor = LocalExecutor(request, self._script(request, share), share)
            try:
                job = executor.submit(submitit.helpers.CommandFunction(list(request.command), verbose=True))
            except OSError as error:
                # too many processes, a full disk, an unreachable file system: all are temporary
                done.postponed[request.name] = f"this machine cannot start {request.name}: {error}"
                break
            if executor.process is not None:
                with self._lock:
                    self._started[request.name] = executor.process
            done.jobs[request.name] = str(job.job_id)
        left = [request.name for request in requests if request.name not in done.jobs | done.postponed]
        done.waiting.update(dict.fromkeys(left, "another job could not be started"))
        return done

    def release_resources(self, names: Collection[str]) -> None:
        """Free the jobs' shares, although submitit takes a moment to exit, and reap those that have exited."""
        with self._lock:
            self._released = self._released | set(names)
            for name in self._released & self._started.keys():
                if self._started[name].poll() is not None:
                    del self._started[name]
                    self._released = self._released - {name}

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Return the jobs in the process table, and the ends of those that this object started."""
        statuses: dict[str, JobStatus] = {}
        for name in names:
            process, code = self._poll(name)
            if process is None:
                continue
            if code is None:
                statuses[name] = _running(name, process.pid)
            else:
                statuses[name] = JobStatus(name, str(process.pid), JobState.ENDED, _end_detail(code))
        for found in _processes(names):
            try:
                leader = os.getsid(found.process.pid)
            except ProcessLookupError:
                continue
            statuses[found.name] = _running(found.name, leader)
        return statuses

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """Return the ends of jobs that this object started; those of other jobs are unknown."""
        ends: dict[str, JobStatus | JobEnd] = {}
        for name in jobs:
            _, code = self._poll(name)
            if code is not None:
                ends[name] = JobEnd(EndReason.TRIAL_ERROR if code > 0 else None, _end_detail(code))
        return ends

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Send SIGTERM, or with `force` SIGKILL, to every process of these jobs."""
        number = signal.SIGKILL if force else signal.SIGTERM
        others = []
        for name in jobs:
            with self._lock:
                process = self._started.get(name)
                if process and process.poll() is None:  # we lead its session, so the signal reaches every process of it
                    logger.debug("job %s: %s to process group %d", name, number.name, process.pid)
                    os.killpg(process.pid, number)
                else:
                    others.append(name)
        for found in _processes(others):
            logger.debug("job %s: %s to process %d", found.name, number.name, found.process.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                found.process.send_signal(number)
        return CancelResult()

    def _poll(self, name: str) -> tuple[subprocess.Popen[bytes] | None, int | None]:
        """Return the process of a job that this object started, and its exit status if it has ended; also reaps it."""
        with self._lock:
            process = self._started.get(name)
            return process, process.poll() if process else None

    def _script(self, request: JobRequest, share: _Share) -> str:
        return local_script(self._settings, self._template, request, share.cpus, share.gpus)

    def _free_share(self) -> _Share:
        """Return the share for one more job."""
        shares = list({found.name: found.share for found in _processes() if found.name not in self._released}.values())
        return _Share(
            _least_used(available_cores(), [share.cpus for share in shares], self._settings.cores_per_trial),
            _least_used(available_gpus(), [share.gpus for share in shares], self._settings.gpus_per_trial or 0),
        )


def available_cores() -> list[str]:
    """Return the numbers of the cores that this process may use."""
    return [str(core) for core in sorted(os.sched_getaffinity(0))]


def available_gpus() -> list[str]:
    """Return the GPUs that this process may use, as in CUDA_VISIBLE_DEVICES."""
    return gpus.available_gpus(os.environ)


def _least_used(available: Sequence[str], used: Sequence[Sequence[str]], number: int) -> tuple[str, ...]:
    """Return `number` of the available resources that the fewest jobs use, in their order."""
    jobs = Counter(each for share in used for each in share)
    chosen = sorted(range(len(available)), key=lambda index: (jobs[available[index]], index))[:number]
    return tuple(available[index] for index in sorted(chosen))


def _running(name: str, leader: int) -> JobStatus:
    return JobStatus(name, str(leader), JobState.RUNNING, running_for=_age(leader))


def _age(pid: int) -> float | None:
    """Return seconds since a process was started, by the boot clock; None when it has exited.

    Its children may still run.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _end_detail(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit status {code}"


def _processes(names: Collection[str] | None = None) -> Iterator[_JobProcess]:
    """Yield the processes of jobs with these names; None are all jobs of this user."""
    for process in psutil.process_iter():
        try:
            if process.uids().effective != os.geteuid():
                continue
            environment = process.environ()
        except psutil.Error:
            continue  # exited, or not readable by this user
        name = environment.get(_NAME)
        if name is not None and (names is None or name in names):
            yield _JobProcess(process, name, _Share.of(environment))
