"""The small job of `check`: submitted by the site's own script, it looks from its nodes and writes what it saw.

Whatever the scheduler. The job gets the site's own allocation, and a short time limit. What its reports mean is
`judge`'s.
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

from aiperf_orch.campaign.durable_files import replace_file, translate_os_errors
from aiperf_orch.records.probe import ANSWER, DATA, GREETING, SEEN, NodeReport, report_name
from aiperf_orch.schedulers.base import JobEnd, JobRequest, JobState, JobStatus, Scheduler
from aiperf_orch.schedulers.missing_output import missing_output_reason
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import SchedulerUnreachableError
from aiperf_orch.util.job_files import LOG
from aiperf_orch.util.signals import handle_signals
from aiperf_orch.util.text import visible
from aiperf_orch.util.units import format_duration

TIME_LIMIT: Final = 900.0  # seconds that the job may run
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"
_LOOK: Final = 0.1  # seconds between two looks at the files
_ASK: Final = (1.0, 10.0)  # seconds between two questions to the queue, at first and at last
_GRACE: Final = 15.0  # seconds for the reports of a job that has left the queue, and for a cancelled job to leave it
_STUCK: Final = 20.0  # seconds for which a scheduler says that the job will never run; one that has just started errs
_PATIENCE: Final = 10.0  # seconds for a job that has reported to end
_TAIL: Final = 5  # lines of a log that are shown


@dataclass(slots=True)
class Outcome:
    """What became of the job.

    `waited` are the seconds from its submission to its first sign of life, None when there was none. `reports` are
    those of the tasks that wrote one, of `tasks`. `trouble` says why the job was given up, empty when all tasks
    reported; `is_slow` that it might have come with more patience, `has_run` that it did not. `end` is what the queue knows
    of its end. `log` are the last lines of its output, `unseen` says what it most likely means that there is none.
    """

    job: str
    greeting: str
    tasks: int
    waited: float | None = None
    reports: dict[int, NodeReport] = field(default_factory=dict)
    trouble: str = ""
    is_slow: bool = False
    has_run: bool = False
    end: JobEnd | None = None
    log: list[str] = field(default_factory=list)
    unseen: str = ""


@contextmanager
def probe_folder(parent: Path) -> Iterator[Path]:
    """A folder of our own in the place where the campaign will lie, made as a campaign's directory is, and deleted."""
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
    """The small job; `folder` is its campaign's directory, and its name."""
    scheduler = settings.scheduler
    command = [scheduler.python or sys.executable, "-P", "-m", "aiperf_orch.trial.probe", str(folder / "files")]
    if settings.training.trainer == "torch":
        command.append("--data")
    return JobRequest(
        folder.name, folder / "job", folder / "job", folder, tuple(command), time_limit=_time_limit(settings)
    )


def _time_limit(settings: SiteSettings) -> float | None:
    """Seconds that the job may take: no longer than it needs, than a trial may, and than a trial of the campaign would."""
    scheduler = settings.scheduler
    if not isinstance(scheduler, ClusterSettings):
        return None
    campaign = settings.campaign.duration + scheduler.stop_grace + scheduler.warn_before
    return min(TIME_LIMIT, scheduler.time_limit, campaign)


def run(
    scheduler: Scheduler, settings: SiteSettings, folder: Path, *, wait: float, log: Callable[[str], None]
) -> Outcome:
    """Submit the job, wait until its tasks have reported, and leave nothing of it in the queue.

    Args:
        scheduler: what runs it.
        settings: the campaign's.
        folder: of its own, and trusted.
        wait: seconds that the job may wait in the queue.
        log: tells a person why it waits.

    Raises:
        SchedulerUnreachableError: when the scheduler does not take the job, or does not answer.
    """
    request, files = probe_request(settings, folder), folder / "files"
    greeting = secrets.token_hex(16)
    nodes = settings.scheduler.nodes if isinstance(settings.scheduler, ClusterSettings) else 1
    with translate_os_errors(folder):
        request.folder.mkdir(mode=0o700)
        files.mkdir(mode=0o700)
    replace_file(files / DATA, settings.data.model_dump_json().encode())
    replace_file(files / GREETING, greeting.encode())
    outcome = Outcome("", greeting, nodes)
    try:
        with _uninterrupted():  # amid a submission nobody knows what there is to cancel
            submission = scheduler.submit([request])
        not_taken = submission.refused | submission.waiting
        if not_taken:
            outcome.trouble, outcome.is_slow = not_taken[request.name], request.name in submission.waiting
            return outcome
        if unsure := submission.unsure.get(request.name):
            raise SchedulerUnreachableError(unsure)
        outcome.job = submission.jobs[request.name]
        _follow(scheduler, request.name, outcome, files, wait, log)
        logs = [request.folder / LOG, request.folder / scheduler.early_log]
        outcome.log = next(filter(None, map(_tail, logs)), [])
        if outcome.has_run and not outcome.reports:
            outcome.unseen = missing_output_reason(settings.scheduler, outcome.end, logs)
    finally:
        _end(scheduler, request.name, reported=len(outcome.reports) == outcome.tasks)
    return outcome


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """What signals would do meanwhile, they do at the end."""
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    numbers = [
        number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(signal.getsignal(number))
    ]
    with handle_signals(numbers, note):
        yield
    for each in came:
        signal.raise_signal(each)


def _follow(
    scheduler: Scheduler, name: str, outcome: Outcome, files: Path, wait: float, log: Callable[[str], None]
) -> None:
    """Answer the job and collect its reports, until all are there or it is given up."""
    submitted = time.monotonic()
    asked, pause, gone, told = submitted, _ASK[0], None, ""
    started: float | None = None
    stuck: float | None = None
    while True:
        _greet(files, outcome)
        _collect(files, outcome)
        present = time.monotonic()
        if len(outcome.reports) == outcome.tasks:
            outcome.waited = (started or present) - submitted
            return
        if started is None and (outcome.reports or _read(files / SEEN)):
            started = present
        if gone is not None and present - gone > _GRACE:
            known = scheduler.query_unlisted({name: outcome.job}).get(name)
            outcome.has_run, outcome.end = True, known if isinstance(known, JobEnd) else None
            outcome.trouble = _why_gone(outcome)
            return
        if present - asked > pause and gone is None:
            asked, pause = present, min(2 * pause, _ASK[1])
            status = scheduler.query([name]).get(name)
            if status is None or status.state is JobState.ENDED:
                gone = present
            elif status.state is JobState.RUNNING:
                started = started or present
            elif status.detail != told and status.detail:
                told = status.detail
                log(f"job {outcome.job} waits: {told}")
            stuck = (present if stuck is None else stuck) if status is not None and status.stuck else None
            if status is not None and stuck is not None and (status.final or present - stuck > _STUCK):
                outcome.trouble = f"it would wait for ever: {status.detail}"
                return
        outcome.waited = None if started is None else started - submitted
        if started is None and gone is None and present - submitted > wait:
            outcome.trouble = f"it did not start within {format_duration(wait)}{f' ({told})' if told else ''}"
            outcome.is_slow = True
            return
        if started is not None and present - started > TIME_LIMIT:
            outcome.has_run = True
            outcome.trouble = f"it has run for {format_duration(TIME_LIMIT)} without reporting"
            return
        time.sleep(_LOOK)


def _greet(files: Path, outcome: Outcome) -> None:
    """Answer the first task, once."""
    if _read(files / ANSWER) is None and _read(files / SEEN) == outcome.greeting:
        replace_file(files / ANSWER, outcome.greeting.encode())


def _collect(files: Path, outcome: Outcome) -> None:
    for rank in set(range(outcome.tasks)) - outcome.reports.keys():
        text = _read(files / report_name(rank))
        if text is not None:
            with suppress(ValidationError):  # written by another version of ours: as good as none, and said so
                outcome.reports[rank] = NodeReport.model_validate_json(text)


def _read(path: Path) -> str | None:
    """A file's text; None while it is not there. Opened, not looked for: on a network file system only that tells."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _why_gone(outcome: Outcome) -> str:
    how = f": {outcome.end.detail}" if outcome.end and outcome.end.detail else ""
    missing = outcome.tasks - len(outcome.reports)
    return f"it ended{how}, and {missing} of {outcome.tasks} tasks did not report"


def _tail(log: Path) -> list[str]:
    lines = (_read(log) or "").rstrip("\n").split("\n")
    return [visible(line) for line in lines[-_TAIL:] if line]


def _end(scheduler: Scheduler, name: str, *, reported: bool) -> None:
    """See the job leave the queue: one that has reported does by itself, any other is cancelled."""
    left = f"a job with the name {name} may be left: cancel it by hand"
    try:
        if reported and _leaves(scheduler, name, _PATIENCE):
            return
        refused = scheduler.cancel({name: None}, force=True).refused.get(name)
        if refused is None:
            _leaves(scheduler, name, _GRACE)
    except SchedulerUnreachableError as error:
        raise SchedulerUnreachableError(f"{error}; {left}") from None
    if refused is not None:
        raise SchedulerUnreachableError(f"{refused}; {left}")


def _leaves(scheduler: Scheduler, name: str, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while _is_live(scheduler.query([name]).get(name)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


def _is_live(status: JobStatus | None) -> bool:
    return status is not None and status.state is not JobState.ENDED
