"""Probe job of `check`: submitted with the site's batch script, it reports what its compute nodes see.

The module is independent of the scheduler. The job gets the allocation of a trial and a short time limit. Its reports
are evaluated in `probe_findings`.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from pydantic import ValidationError

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.records.probe import ANSWER, DATA, GREETING, SEEN, NodeReport, report_name
from aiperf_orch.records.trial import DataRecord
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, JobStatus, Scheduler
from aiperf_orch.schedulers.missing_job_output import missing_output_reason
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.job_files import LOG
from aiperf_orch.util.progress import begin_part
from aiperf_orch.util.signals import handle_signals
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_duration

TIME_LIMIT: Final = 900.0  # seconds that the job may run
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_FILE_INTERVAL: Final = 0.1  # seconds between two polls of the files
_QUERY_INTERVAL: Final = 1.0  # seconds between two queries of the queue, at first; doubled with each query
_MAX_QUERY_INTERVAL: Final = 10.0
_GRACE: Final = 15.0  # seconds for the reports of a job that has left the queue, and for a cancelled job to leave it
_STUCK: Final = 20.0  # seconds for which the scheduler must report that the job can never run: at first it may err
_END_TIMEOUT: Final = 10.0  # seconds for a job that has reported to leave the queue
_LOG_LINES: Final = 5  # last lines of a log that are shown


@dataclass(slots=True)
class ProbeOutcome:
    """Outcome of the probe job.

    Attributes:
        job: job identifier; empty if the job was not submitted.
        greeting: random text that the tasks have to read and to report.
        tasks: number of tasks, one per node.
        waited: seconds from the submission to the first sign of the running job; None if there was none.
        reports: rank -> report, of the tasks that wrote one.
        failure: why the check stopped waiting; empty if all tasks reported.
        is_pending: whether the job might have started with a longer `wait`.
        has_run: whether the job has run.
        end: what the scheduler knows about its end.
        log: last lines of its output.
        missing_output: most likely reason why there is no output.
    """

    job: str
    greeting: str
    tasks: int
    waited: float | None = None
    reports: dict[int, NodeReport] = field(default_factory=dict)
    failure: str = ""
    is_pending: bool = False
    has_run: bool = False
    end: JobEnd | None = None
    log: list[str] = field(default_factory=list)
    missing_output: str = ""


@contextmanager
def probe_folder(parent: Path) -> Iterator[Path]:
    """Temporary directory beside the future campaign directory, created with the same permissions."""
    is_new = not parent.exists()
    path = parent / f"check-{''.join(secrets.choice(_LETTERS) for _ in range(5))}"
    with translate_os_errors(path):
        parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        path.chmod(0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if is_new:
            with suppress(OSError):
                parent.rmdir()


def probe_request(settings: SiteSettings, folder: Path) -> JobRequest:
    """Request of the probe job; `folder` takes the part of the campaign directory, and gives the job its name."""
    scheduler = settings.scheduler
    command = [scheduler.python or sys.executable, "-P", "-m", "aiperf_orch.trial.probe", str(folder / "files")]
    if settings.training.trainer == "torch":
        command.append("--data")
    return JobRequest(
        folder.name, folder / "job", folder / "job", folder, tuple(command), time_limit=_time_limit(settings)
    )


def _time_limit(settings: SiteSettings) -> float | None:
    """Time limit of the job in seconds: at most that of a trial, and of a trial in a campaign of this duration."""
    scheduler = settings.scheduler
    if not isinstance(scheduler, ClusterSettings):
        return None
    campaign = settings.campaign.duration + scheduler.stop_grace + scheduler.warn_before
    return min(TIME_LIMIT, scheduler.time_limit, campaign)


def run(
    scheduler: Scheduler, settings: SiteSettings, folder: Path, *, wait: float, log: Callable[[str], None]
) -> ProbeOutcome:
    """Submit the job, wait for the reports of its tasks, and remove it from the queue.

    Args:
        scheduler: scheduler that runs the job.
        settings: settings of the campaign.
        folder: directory for the files of the job; trusted, and used for nothing else.
        wait: seconds that the job may be pending.
        log: called with a message when the reason for which the job is pending changes.

    Raises:
        SchedulerUnreachableError: if the scheduler does not accept the job, or does not answer.
    """
    request, files = probe_request(settings, folder), folder / "files"
    greeting = secrets.token_hex(16)
    nodes = settings.scheduler.nodes if isinstance(settings.scheduler, ClusterSettings) else 1
    with translate_os_errors(folder):
        request.folder.mkdir(mode=0o700)
        files.mkdir(mode=0o700)
    replace_file(files / DATA, DataRecord.model_validate(settings.data).model_dump_json().encode())
    replace_file(files / GREETING, greeting.encode())
    outcome = ProbeOutcome("", greeting, nodes)
    try:
        with _deferred_signals():  # during a submission it is not known which job would have to be cancelled
            submission = scheduler.submit([request])
        not_accepted = submission.refused | submission.waiting
        if not_accepted:
            outcome.failure, outcome.is_pending = not_accepted[request.name], request.name in submission.waiting
            return outcome
        if unsure := submission.unsure.get(request.name):
            raise SchedulerUnreachableError(unsure)
        outcome.job = submission.jobs[request.name]
        _Monitor(scheduler, request.name, outcome, files, wait, log).run()
        logs = [request.folder / LOG, request.folder / scheduler.early_log]
        outcome.log = next(filter(None, map(_tail, logs)), [])
        if outcome.has_run and not outcome.reports:
            outcome.missing_output = missing_output_reason(settings.scheduler, outcome.end, logs)
    finally:
        _remove(scheduler, request.name, reported=len(outcome.reports) == outcome.tasks)
    return outcome


@contextmanager
def _deferred_signals() -> Iterator[None]:
    """Defer SIGINT, SIGTERM and SIGHUP to the end of the block."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(signal.getsignal(number))
    ]
    with handle_signals(numbers, note):
        yield
    for each in received:
        signal.raise_signal(each)


class _Monitor:
    """Waits for the reports of a submitted job; times are monotonic seconds."""

    def __init__(
        self,
        scheduler: Scheduler,
        name: str,
        outcome: ProbeOutcome,
        files: Path,
        wait: float,
        log: Callable[[str], None],
    ) -> None:
        self._scheduler = scheduler
        self._name = name
        self._outcome = outcome
        self._files = files
        self._wait = wait
        self._log = log
        self._submitted = self._queried = time.monotonic()
        self._query_interval = _QUERY_INTERVAL
        self._started: float | None = None
        self._left_queue: float | None = None
        self._stuck_since: float | None = None
        self._pending_reason = ""

    def run(self) -> None:
        """Answer the job and collect its reports, until all are there or the outcome has a failure."""
        outcome = self._outcome
        while True:
            _answer_greeting(self._files, outcome)
            _collect_reports(self._files, outcome)
            present = time.monotonic()
            begin_part(self._present_state())
            if len(outcome.reports) == outcome.tasks:
                outcome.waited = (self._started or present) - self._submitted
                return
            if self._started is None and (outcome.reports or _read(self._files / SEEN)):
                self._started = present
            if self._has_left_queue(present) or self._poll_queue(present) or self._is_late(present):
                return
            time.sleep(_FILE_INTERVAL)

    def _present_state(self) -> str:
        outcome = self._outcome
        if self._started is None and not outcome.reports:
            return f"job {outcome.job} waits" + (f" ({self._pending_reason})" if self._pending_reason else "")
        return f"job {outcome.job}: {len(outcome.reports)} of {outcome.tasks} tasks have reported"

    def _has_left_queue(self, present: float) -> bool:
        """Whether the job left the queue, and its reports had time to arrive."""
        if self._left_queue is None or present - self._left_queue <= _GRACE:
            return False
        outcome = self._outcome
        known = self._scheduler.query_unlisted({self._name: outcome.job}).get(self._name)
        outcome.has_run, outcome.end = True, known if isinstance(known, JobEnd) else None
        detail = f": {outcome.end.detail}" if outcome.end and outcome.end.detail else ""
        missing = outcome.tasks - len(outcome.reports)
        outcome.failure = f"it ended{detail}, and {missing} of {outcome.tasks} tasks did not report"
        return True

    def _poll_queue(self, present: float) -> bool:
        """Query the queue if it is time; returns whether the scheduler reports that the job can never run."""
        if self._left_queue is not None or present - self._queried <= self._query_interval:
            return False
        self._queried, self._query_interval = present, min(2 * self._query_interval, _MAX_QUERY_INTERVAL)
        status = self._scheduler.query([self._name]).get(self._name)
        if status is None or status.state is JobState.ENDED:
            self._left_queue = present
        elif status.state is JobState.RUNNING:
            self._started = self._started or present
        elif status.detail != self._pending_reason and status.detail:
            self._pending_reason = status.detail
            self._log(f"job {self._outcome.job} is pending: {self._pending_reason}")
        if status is None or not status.stuck:
            self._stuck_since = None
            return False
        if self._stuck_since is None:
            self._stuck_since = present
        if not status.final and present - self._stuck_since <= _STUCK:
            return False
        self._outcome.failure = f"it can never run: {status.detail}"
        return True

    def _is_late(self, present: float) -> bool:
        """Whether the job did not start, or did not report, in time."""
        outcome = self._outcome
        if self._started is None:
            if self._left_queue is not None or present - self._submitted <= self._wait:
                return False
            reason = f" ({self._pending_reason})" if self._pending_reason else ""
            outcome.failure = f"it did not start within {format_duration(self._wait)}{reason}"
            outcome.is_pending = True
            return True
        outcome.waited = self._started - self._submitted
        if present - self._started <= TIME_LIMIT:
            return False
        outcome.has_run = True
        outcome.failure = f"it has run for {format_duration(TIME_LIMIT)} without a report"
        return True


def _answer_greeting(files: Path, outcome: ProbeOutcome) -> None:
    """Answer the first task once it has read the greeting."""
    if _read(files / ANSWER) is None and _read(files / SEEN) == outcome.greeting:
        replace_file(files / ANSWER, outcome.greeting.encode())


def _collect_reports(files: Path, outcome: ProbeOutcome) -> None:
    for rank in set(range(outcome.tasks)) - outcome.reports.keys():
        text = _read(files / report_name(rank))
        if text is not None:
            with suppress(ValidationError):  # of another version of aiperf-orch: counts as missing
                outcome.reports[rank] = NodeReport.model_validate_json(text, strict=True)


def _read(path: Path) -> str | None:
    """Text of a file; None if it does not exist. Opening updates the cache of a network file system, stat may not."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _tail(log: Path) -> list[str]:
    lines = (_read(log) or "").rstrip("\n").split("\n")
    return [visible(line) for line in lines[-_LOG_LINES:] if line]


def _remove(scheduler: Scheduler, name: str, *, reported: bool) -> None:
    """Wait until the job has left the queue; cancel it unless it has reported and ends by itself."""
    left = f"a job with the name {name} may be left: cancel it manually"
    try:
        if reported and _leaves_queue(scheduler, name, _END_TIMEOUT):
            return
        refused = scheduler.cancel({name: None}, force=True).refused.get(name)
        if refused is None:
            _leaves_queue(scheduler, name, _GRACE)
    except SchedulerUnreachableError as error:
        raise SchedulerUnreachableError(f"{error}; {left}") from None
    if refused is not None:
        raise SchedulerUnreachableError(f"{refused}; {left}")


def _leaves_queue(scheduler: Scheduler, name: str, timeout: float) -> bool:
    """Whether the job leaves the queue within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while _is_live(scheduler.query([name]).get(name)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _is_live(status: JobStatus | None) -> bool:
    return status is not None and status.state is not JobState.ENDED
