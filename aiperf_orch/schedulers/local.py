"""The local scheduler: trials are processes of this machine, each held to its own cores and, where wanted, GPUs.

Built on submitit's local executor, with our batch script in place of its process tree. The queue is the process table:
every process of a job carries the job's name in its environment, so that a new controller finds what an old one
started, and an id that the system has given to somebody else is never mistaken for a job.
"""

from __future__ import annotations

import contextlib
import os
import shlex
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
from submitit.local import local as submitit_local

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import CancelResult, JobEnd, JobRequest, JobState, JobStatus, Scheduler, SubmitResult
from aiperf_orch.schedulers.script_rendering import render_script, submitit_command
from aiperf_orch.settings.schedulers import LocalSettings
from aiperf_orch.util import gpus
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.job_files import LOG, SCRIPT

_NAME: Final = "AIPERF_ORCH_JOB"
_CPUS: Final = "AIPERF_ORCH_CPUS"
_GPUS: Final = "AIPERF_ORCH_GPUS"


@dataclass(frozen=True, slots=True)
class _Share:
    """What a job is held to: numbers of cores, and of GPUs as CUDA_VISIBLE_DEVICES names them."""

    cpus: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> _Share:
        """That of the job that a process with this environment belongs to."""
        return cls(*(tuple(filter(None, environment.get(name, "").split(","))) for name in (_CPUS, _GPUS)))

    @property
    def environment(self) -> dict[str, str]:
        """What tells it to those that look for what is free."""
        return {_CPUS: ",".join(self.cpus), _GPUS: ",".join(self.gpus)}


class LocalExecutor(submitit_local.LocalExecutor):
    """submitit's local executor, starting our rendered script in a session of its own."""

    def __init__(self, request: JobRequest, settings: LocalSettings, share: _Share) -> None:
        super().__init__(folder=request.folder)
        self._request, self._settings, self._share = request, settings, share
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def name(cls) -> str:
        """What the job's environment calls this executor."""
        return "local"

    @property
    def _submitit_command_str(self) -> str:
        return _submitit_command(self._request, self._settings)

    def _make_submission_file_text(self, command: str, uid: str) -> str:  # noqa: ARG002  submitit's signature
        return _script(self._request, self._settings, self._share, command)

    def _submit_command(self, command: str) -> submitit_local.LocalJob[Any]:
        script = self._request.folder / SCRIPT
        script.write_text(self._make_submission_file_text(command, ""), encoding="utf-8")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SUBMITIT_")}
        environment |= {_NAME: self._request.name, **self._share.environment}
        with (self._request.folder / LOG).open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", str(script)],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return submitit_local.LocalJob(folder=self.folder, job_id=str(self.process.pid), process=self.process)


@dataclass(frozen=True, slots=True)
class _Found:
    """A process of a job, seen in the process table."""

    process: psutil.Process
    name: str
    share: _Share


class LocalScheduler(Scheduler):
    """Runs jobs on this machine at once. Nothing ever waits in its queue: `JobRequest.after` is not looked at."""

    nonblocking = True

    def __init__(self, settings: LocalSettings) -> None:
        self._settings = settings
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._over: set[str] = set()
        self._lock = threading.Lock()
        """Held while `_started` changes and while its processes are waited for or signalled: ids of reaped ones are reused."""

    def check(self, concurrency: int) -> list[str]:
        """Refuse trials that want more than there is, and warn where trials will share."""
        if self._settings.python and not shutil.which(self._settings.python):
            raise UsageError(f"scheduler.python: {self._settings.python}: there is no such program here")
        warnings = []
        for what, key, wanted, there in (
            ("cores", "cores_per_trial", self._settings.cores_per_trial, len(_cores_here())),
            ("GPUs", "gpus_per_trial", self._settings.gpus_per_trial or 0, len(gpus.available_gpus(os.environ))),
        ):
            if wanted > there:
                raise UsageError(f"scheduler.{key}: a trial wants {wanted} {what}, and this machine gives {there}")
            all_want = concurrency * wanted
            if all_want > there:
                warnings.append(
                    f"{concurrency} trials at once want {all_want} {what}, and here are {there}: they share"
                )
        return warnings

    def render(self, request: JobRequest) -> str:
        """The script, on what would be taken now."""
        # not by an executor: making one would make the job's folder too
        return _script(request, self._settings, self._free(), _submitit_command(request, self._settings))

    def submit(self, requests: Sequence[JobRequest]) -> SubmitResult:
        """Start jobs, each on what no other job has; when all is taken, on what the fewest jobs have."""
        done = SubmitResult()
        for request in requests:
            executor = LocalExecutor(request, self._settings, self._free())
            try:
                job = executor.submit(submitit.helpers.CommandFunction(list(request.command), verbose=True))
            except OSError as error:
                # too many processes, a full disk, a file system that is away: none is for good
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
        """What they had is free, though submitit takes a moment to exit; and reap what has."""
        with self._lock:
            self._over = self._over | set(names)
            for name in self._over & self._started.keys():
                if self._started[name].poll() is not None:
                    del self._started[name]
                    self._over = self._over - {name}

    def query(self, names: Collection[str]) -> Mapping[str, JobStatus]:
        """Jobs found in the process table, and the ends of those that this scheduler object started."""
        statuses: dict[str, JobStatus] = {}
        for name in names:
            process, code = self._look(name)
            if process is None:
                continue
            if code is None:
                statuses[name] = _running(name, process.pid)
            else:
                statuses[name] = JobStatus(name, str(process.pid), JobState.ENDED, _how(code))
        for found in _processes(names):
            try:
                leader = os.getsid(found.process.pid)
            except ProcessLookupError:
                continue
            statuses[found.name] = _running(found.name, leader)
        return statuses

    def query_unlisted(self, jobs: Mapping[str, str]) -> Mapping[str, JobStatus | JobEnd]:
        """The exit statuses of jobs that this scheduler object started; of others nobody knows."""
        ends: dict[str, JobStatus | JobEnd] = {}
        for name in jobs:
            _, code = self._look(name)
            if code is not None:
                ends[name] = JobEnd(EndReason.TRIAL_ERROR if code > 0 else None, _how(code))
        return ends

    def cancel(self, jobs: Mapping[str, str | None], *, force: bool) -> CancelResult:
        """Send SIGTERM, or with `force` SIGKILL, to every process of these jobs."""
        number = signal.SIGKILL if force else signal.SIGTERM
        elsewhere = []
        for name in jobs:
            with self._lock:
                process = self._started.get(name)
                if process and process.poll() is None:  # its session is ours: no process of it is missed
                    os.killpg(process.pid, number)
                else:
                    elsewhere.append(name)
        for found in _processes(elsewhere):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.process.send_signal(number)
        return CancelResult()

    def _look(self, name: str) -> tuple[subprocess.Popen[bytes] | None, int | None]:
        """The process of a job that was started here, and its exit status if it has ended; also reaps it."""
        with self._lock:
            process = self._started.get(name)
            return process, process.poll() if process else None

    def _free(self) -> _Share:
        """What one more job gets."""
        shares = list({found.name: found.share for found in _processes() if found.name not in self._over}.values())
        return _Share(
            _least_taken(_cores_here(), [share.cpus for share in shares], self._settings.cores_per_trial),
            _least_taken(
                gpus.available_gpus(os.environ), [share.gpus for share in shares], self._settings.gpus_per_trial or 0
            ),
        )


def _cores_here() -> list[str]:
    return [str(core) for core in sorted(os.sched_getaffinity(0))]


def _least_taken(there: Sequence[str], taken: Sequence[Sequence[str]], number: int) -> tuple[str, ...]:
    """So many of those that the fewest jobs have, in their order."""
    jobs = Counter(each for share in taken for each in share)
    chosen = sorted(range(len(there)), key=lambda place: (jobs[there[place]], place))[:number]
    return tuple(there[place] for place in sorted(chosen))


def _running(name: str, leader: int) -> JobStatus:
    return JobStatus(name, str(leader), JobState.RUNNING, running_for=_age(leader))


def _age(pid: int) -> float | None:
    """Seconds since a process was started, by the clock that nobody sets; None when it is gone: what it started may run on."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _how(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"exit status {code}"


def _script(request: JobRequest, settings: LocalSettings, share: _Share, command: str) -> str:
    return render_script(
        "local.sh.j2",
        settings.template,
        name=request.name,
        campaign=request.campaign,
        folder=request.folder,
        cpus=share.cpus,
        gpus=share.gpus,
        workers=settings.workers_per_node,
        setup=settings.setup,
        command=command,
    )


def _submitit_command(request: JobRequest, settings: LocalSettings) -> str:
    return submitit_command(settings.python, shlex.quote(str(request.folder)))


def _processes(names: Collection[str] | None = None) -> Iterator[_Found]:
    """Processes of our jobs, with these names or with any."""
    for process in psutil.process_iter():
        try:
            if process.uids().effective != os.geteuid():
                continue
            environment = process.environ()
        except psutil.Error:
            continue  # gone, or not ours to see
        name = environment.get(_NAME)
        if name is not None and (names is None or name in names):
            yield _Found(process, name, _Share.of(environment))
