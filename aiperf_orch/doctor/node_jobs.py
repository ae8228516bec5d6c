"""Jobs of `check --every-node`: one on each node, or allocations over all of them, and the reports of their tasks."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.doctor.site_nodes import SiteNode, job_groups, scheduler_on
from aiperf_orch.records.base import first_error
from aiperf_orch.records.probe import ANSWER, DATA, GREETING, SEEN, SETTINGS, NodeCheck, node_check_name
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.schedulers.base import JobRequest, JobState, JobStatus, Scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.job_files import LOG
from aiperf_orch.util.progress import begin_part
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_duration

TIME_LIMIT: Final = 600.0
"""Seconds that a job of the check may run."""
_INTERVAL: Final = 1.0  # seconds between two looks at the files, and between two queries of the queue at least
_LONGEST_INTERVAL: Final = 10.0  # seconds between two queries, at most
_SUBMIT_INTERVAL: Final = 5.0  # seconds until a submission that met a limit is repeated
_GRACE: Final = 15.0  # seconds for the reports of a job that has left the queue
_CANCEL_GRACE: Final = 15.0
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What is known of a node.

    Attributes:
        host: Its name as the scheduler has it.
        check: Its report; None without one.
        why: Why there is none; empty where there is one.
        tried: Whether a job has run there; False for a node that was busy or out of service.
    """

    host: str
    check: NodeCheck | None = None
    why: str = ""
    tried: bool = True


@dataclass
class _Job:
    """A job of the check; times are monotonic."""

    name: str
    hosts: tuple[str, ...]
    folder: Path
    job: str | None = None
    started: float | None = None
    left: float | None = None
    detail: str = ""


@dataclass
class _Run:
    """A run of the check: jobs to submit, jobs in the queue, and results."""

    settings: SiteSettings
    folder: Path
    greeting: str
    wait: float
    log: Callable[[str], None]
    pending: list[_Job]
    scheduler: Scheduler
    first: frozenset[str]
    begun: float = field(default_factory=time.monotonic)
    live: dict[str, _Job] = field(default_factory=dict)
    results: dict[str, NodeResult] = field(default_factory=dict)
    next_submission: float = 0.0
    next_query: float = 0.0
    limit: str = ""

    @property
    def files(self) -> Path:
        """Folder of the files that the nodes share."""
        return self.folder / "files"

    @property
    def is_late(self) -> bool:
        """Whether jobs that have not started are waited for no longer."""
        return time.monotonic() - self.begun > self.wait

    def step(self) -> None:
        """Submit what can be submitted, and take reports and ends."""
        running = sum(job.started is not None for job in self.live.values())
        begin_part(f"{len(self.results)} nodes have reported, {running} of {len(self.live)} jobs run")
        self._submit()
        if self._waits_for_first and any(job.started for job in self.live.values()):
            self.begun = time.monotonic()  # the others wait for the first one, and not in the queue
        self._answer()
        self._collect()
        if self.live and time.monotonic() >= self.next_query:
            statuses = self.scheduler.query(list(self.live))
            self.next_query = time.monotonic() + min(max(self.scheduler.query_interval, _INTERVAL), _LONGEST_INTERVAL)
            for job in list(self.live.values()):
                self._look_at(job, statuses.get(job.name))
        if self.is_late:
            for job in self.pending:
                self._give_up(job, self.limit or "not submitted in time", tried=False)
            self.pending.clear()

    @property
    def _waits_for_first(self) -> bool:
        """Whether the first job runs alone: it lists an image tree, which the others then need not list."""
        if self.results.keys() & self.first or not self.live:
            return False
        not_started = all(job.started is None for job in self.live.values())
        is_large = self.settings.data.needs_path and self.settings.training.trainer == "torch"
        return is_large and not (not_started and time.monotonic() - self.begun > self.wait / 2)

    def _submit(self) -> None:
        while self.pending and not self._waits_for_first and time.monotonic() >= self.next_submission:
            job = self.pending[0]
            request = _request(self.settings, self.folder, job)
            is_cluster = isinstance(self.settings.scheduler, ClusterSettings)
            scheduler = scheduler_on(self.settings.scheduler, job.hosts) if is_cluster else self.scheduler
            done = scheduler.submit([request])
            limit = done.waiting.get(job.name) or done.postponed.get(job.name)
            if limit:
                if limit != self.limit:
                    self.log(f"{len(self.pending)} job(s) wait to be submitted: {limit}")
                self.limit, self.next_submission = limit, time.monotonic() + _SUBMIT_INTERVAL
                return
            self.pending.pop(0)
            if job.name in done.refused:
                self._give_up(job, f"its job was refused: {done.refused[job.name]}", tried=False)
            else:
                job.job = done.jobs.get(job.name)  # None where the answer is unknown: the queue will list it
                self.live[job.name] = job

    def _answer(self) -> None:
        """Answer the first node that has read the greeting."""
        seen = self.files / SEEN
        if not (self.files / ANSWER).exists() and seen.exists() and seen.read_text(encoding="utf-8") == self.greeting:
            replace_file(self.files / ANSWER, self.greeting.encode())

    def _look_at(self, job: _Job, status: JobStatus | None) -> None:
        """Draw the consequences of a job's state in the queue."""
        missing = [host for host in job.hosts if host not in self.results]
        present = time.monotonic()
        if status is None or status.state is JobState.ENDED:
            job.left = job.left or present
            if not missing:
                del self.live[job.name]
            elif present - job.left > _GRACE:
                self._end(job, _last_line(job) or "its job left no output")
            return
        job.left = None
        if status.state is JobState.RUNNING:
            job.started = job.started or present
        job.detail = status.detail
        if job.started is None and (self.is_late or (status.stuck and status.final)):
            busy = status.detail or "it is busy"
            self._end(job, f"did not start within {format_duration(self.wait)} ({busy})", tried=False)
        elif job.started is not None and present - job.started > TIME_LIMIT + _GRACE:
            self._end(job, f"no report within {format_duration(TIME_LIMIT)}")

    def _collect(self) -> None:
        """Read new reports of nodes whose jobs are in the queue."""
        expected = {host for job in self.live.values() for host in job.hosts if host not in self.results}
        for host in expected & {path.stem.removeprefix("node-") for path in self.files.glob("node-*.json")}:
            try:
                check = NodeCheck.model_validate_json((self.files / node_check_name(host)).read_bytes())
            except ValidationError as error:
                reason = f"its report is of another version of aiperf-orch: {first_error(error)}"
                self.results[host] = NodeResult(host, None, reason)
            else:
                self.results[host] = NodeResult(host, check)

    def _end(self, job: _Job, why: str, *, tried: bool = True) -> None:
        """Give up the nodes of a job that have not reported, and remove the job from the queue."""
        self._give_up(job, why, tried=tried)
        self.scheduler.cancel({job.name: job.job}, force=True)
        del self.live[job.name]

    def _give_up(self, job: _Job, why: str, *, tried: bool) -> None:
        for host in job.hosts:
            self.results.setdefault(host, NodeResult(host, None, why, tried=tried))

    def cancel(self) -> None:
        """Remove all jobs from the queue, and wait a while until they have left it."""
        if not self.live:
            return
        self.scheduler.cancel({name: job.job for name, job in self.live.items()}, force=True)
        deadline = time.monotonic() + _CANCEL_GRACE
        while time.monotonic() < deadline:
            listed = self.scheduler.query(list(self.live)).values()
            if all(each.state is JobState.ENDED for each in listed):
                return
            time.sleep(_INTERVAL)


def check_nodes(
    settings: SiteSettings, nodes: Sequence[SiteNode], folder: Path, *, wait: float, log: Callable[[str], None]
) -> list[NodeResult]:
    """Examine nodes by jobs, and return what is known of each, in their order.

    Args:
        settings: Settings of the campaign.
        nodes: The nodes.
        folder: Directory for the files of the jobs; trusted, and used for nothing else.
        wait: Seconds after which jobs that have not started are removed from the queue.
        log: Called with messages for the user.

    Raises:
        SchedulerUnreachableError: When the scheduler does not answer; no job is left then, as far as it can be reached.
    """
    greeting = secrets.token_hex(16)
    jobs = [
        _Job(name := f"{folder.name}{_base36(number)}", hosts, folder / name)
        for number, hosts in enumerate(job_groups(settings.scheduler, nodes))
    ]
    with translate_os_errors(folder):
        for each in (folder / "files", *(job.folder for job in jobs)):
            each.mkdir(mode=0o700)
    data = DataRecord.model_validate(settings.data).model_dump_json()
    for name, content in ((SETTINGS, settings.model_dump_json()), (DATA, data), (GREETING, greeting)):
        replace_file(folder / "files" / name, content.encode())
    scheduler = scheduler_on(settings.scheduler, [node.name for node in nodes[:1]])  # for queries and cancellations
    run = _Run(settings, folder, greeting, wait, log, jobs, scheduler, frozenset(jobs[0].hosts))
    for node in nodes:
        if node.out_of_service:
            run.results[node.name] = NodeResult(node.name, None, f"out of service: {node.out_of_service}", tried=False)
    try:
        while run.pending or run.live:
            run.step()
            time.sleep(_INTERVAL)
    finally:
        run.cancel()
    return [run.results[node.name] for node in nodes]


def _request(settings: SiteSettings, folder: Path, job: _Job) -> JobRequest:
    scheduler = settings.scheduler
    command = [scheduler.python or sys.executable, "-P", "-m", "aiperf_orch.trial.node_check", str(folder / "files")]
    if len(job.hosts) == 1:
        command += ["--host", job.hosts[0]]
    limit = TIME_LIMIT if isinstance(scheduler, ClusterSettings) else None
    return JobRequest(job.name, job.folder, job.folder, folder, tuple(command), time_limit=limit)


def _base36(number: int) -> str:
    """A number in digits and letters, at least two of them: a job's name has at most 15 characters."""
    digits = ""
    while number or len(digits) < 2:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits


def _last_line(job: _Job) -> str:
    """The last line of a job's output."""
    try:
        lines = (job.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return visible(lines[-1]) if lines else ""
