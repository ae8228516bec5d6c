"""`check`: a doctor, who looks at everything that a campaign needs before one is started."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiperf_orch.commands.render import contract, render
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.doctor import campaign_location, probe_job
from aiperf_orch.doctor.findings import Finding, Level, fault, ok, warning
from aiperf_orch.doctor.probe_findings import evaluate_probe
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import PbsSettings, SlurmSettings
from aiperf_orch.util.errors import AiperfError, SchedulerUnreachableError, UsageError
from aiperf_orch.util.signals import handle_signals
from aiperf_orch.util.text import visible_lines

_INDENT: Final = " " * 9


def check(loaded: LoadedSettings, campaign_dir: Path | None, form: str, *, job: bool, wait: float) -> int:
    """Look, and print what is found; returns the exit status.

    Args:
        loaded: the settings.
        campaign_dir: where the campaign would lie; by default under ./campaigns.
        form: `table`, printed line by line; or `csv` or `json`, printed at the end.
        job: submit the small job, too.
        wait: seconds that it may wait in the queue.
    """
    parent = campaign_dir.absolute().parent if campaign_dir else Path.cwd() / "campaigns"
    sheet = _Sheet(form)
    sheet.add("scheduler", _scheduler(loaded))
    with _signals_raise():
        sheet.add("location", _location_and_probe_job(sheet, loaded.settings, parent, job=job, wait=wait))
    return sheet.close()


class _Sheet:
    """The findings so far. What is wrong with the looking itself is a finding, too."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._findings: list[Finding] = []
        self.is_reachable = True

    def add(self, subject: str, findings: Iterable[Finding]) -> None:
        """Take findings one by one as they are found; `subject` is of an error in between."""
        try:
            for finding in findings:
                self._take(finding)
        except SchedulerUnreachableError as error:
            self.is_reachable = False
            self._take(fault("scheduler", str(error), "is this a login node, and is the scheduler up?"))
        except AiperfError as error:
            self._take(fault(subject, str(error)))

    def has_fault(self, subject: str) -> bool:
        """Whether there is a fault of this subject."""
        return any(each.subject == subject and each.level is Level.FAULT for each in self._findings)

    def close(self) -> int:
        """Print the rest; returns the exit status."""
        counts = Counter(finding.level for finding in self._findings)
        if self._form == "table":
            faults, warnings = counts[Level.FAULT], counts[Level.WARNING]
            print(f"{faults} fault(s), {warnings} warning(s)", file=sys.stderr)
        else:
            rows = [
                {"level": each.level.value, "subject": each.subject, "message": each.message, "advice": each.advice}
                for each in self._findings
            ]
            print(render_rows(rows, self._form), end="")
        if not self.is_reachable:
            return SchedulerUnreachableError.exit_status
        return AiperfError.exit_status if counts[Level.FAULT] else 0

    def _take(self, finding: Finding) -> None:
        self._findings.append(finding)
        if self._form == "table":
            print(visible_lines(_lines(finding)), flush=True)


def _lines(finding: Finding) -> str:
    first, *more = finding.message.splitlines()
    advice = [f"-> {finding.advice}"] if finding.advice else []
    return "\n".join(
        [f"{finding.level.value:8} {finding.subject}: {first}", *(_INDENT + line for line in more + advice)]
    )


def _scheduler(loaded: LoadedSettings) -> Iterator[Finding]:
    settings, concurrency = loaded.settings.scheduler, loaded.settings.campaign.concurrency
    try:
        script, found = render(loaded), contract(loaded)
    except UsageError as error:
        yield fault("script", str(error))
        return
    for violation in found:
        make = fault if violation.is_fault else warning
        yield make("script", f"{violation.line}: {violation.message}", violation.advice)
    if isinstance(settings, SlurmSettings):
        from aiperf_orch.doctor import slurm_checks

        yield from slurm_checks.checks(settings, concurrency, loaded.settings.campaign.duration, script)
        return
    if isinstance(settings, PbsSettings):
        from aiperf_orch.doctor import pbs_checks

        yield from pbs_checks.checks(settings, concurrency)
        return
    warnings = make_scheduler(settings).check(concurrency)
    yield from (warning("scheduler", message) for message in warnings)
    if not warnings:
        yield ok("scheduler", f"{settings.kind}: {concurrency} trials at once have cores of their own")


def _location_and_probe_job(
    sheet: _Sheet, settings: SiteSettings, parent: Path, *, job: bool, wait: float
) -> Iterator[Finding]:
    with probe_job.probe_folder(parent) as folder:
        yield from campaign_location.checks(settings, folder)
        if not job or not sheet.is_reachable or any(map(sheet.has_fault, ("location", "script", "scheduler"))):
            return
        outcome = probe_job.run(make_scheduler(settings.scheduler), settings, folder, wait=wait, log=_say)
        yield from evaluate_probe(settings, outcome)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and a lost terminal end this process as Ctrl-C does: not before its job is cancelled."""

    def handle(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    with handle_signals((signal.SIGTERM, signal.SIGHUP), handle):
        yield


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
