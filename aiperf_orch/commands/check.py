"""`check`: check of everything that a campaign needs, before one is started."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.render import rendered_script, script_violations
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.doctor import campaign_location, probe_job
from aiperf_orch.doctor.findings import Finding, Level, fault, ok, warning
from aiperf_orch.doctor.probe_findings import evaluate_probe
from aiperf_orch.doctor.way_to_run import agents_by_hand
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.allocation_job import trial_job
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings, PbsSettings, SlurmSettings
from aiperf_orch.util.errors import AiperfError, SchedulerUnreachableError, UsageError
from aiperf_orch.util.signals import handle_signals
from aiperf_orch.util.text import visible_lines

_log: Final = logging.getLogger(__name__)
_INDENT: Final = " " * 9


def check_site(
    loaded: LoadedSettings, campaign_dir: Path | None, form: str, *, job: bool, wait: float
) -> CommandOutput:
    """Run all checks.

    Args:
        loaded: The settings.
        campaign_dir: The directory that the campaign would have; None is one under ./campaigns.
        form: `table`, which is printed line by line as findings come; or `csv` or `json`, which are returned.
        job: Submit the probe job too.
        wait: Seconds that the probe job may wait in the queue.

    Returns:
        The findings, and the exit status: 0 without an error, 1 with one, 3 when the scheduler does not answer.
    """
    parent = campaign_dir.absolute().parent if campaign_dir else Path.cwd() / "campaigns"
    findings = _Findings(form)
    findings.add("scheduler", _scheduler(loaded))
    with _signals_raise():
        findings.add("location", _location_and_probe_job(findings, loaded.settings, parent, job=job, wait=wait))
    return findings.output()


class _Findings:
    """Findings so far. An error of a check is a finding too."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._findings: list[Finding] = []
        self.is_reachable = True

    def add(self, subject: str, findings: Iterable[Finding]) -> None:
        """Add findings as they come; an error in between becomes a finding with this subject."""
        try:
            for finding in findings:
                self._take(finding)
        except SchedulerUnreachableError as error:
            self.is_reachable = False
            self._take(fault("scheduler", str(error), "is this a login node, and is the scheduler up?"))
        except AiperfError as error:
            self._take(fault(subject, str(error)))

    def has_fault(self, subject: str) -> bool:
        """Whether a finding of this subject is a fault."""
        return any(each.subject == subject and each.level is Level.FAULT for each in self._findings)

    def output(self) -> CommandOutput:
        """The findings that were not printed yet, and the exit status."""
        counts = Counter(finding.level for finding in self._findings)
        text = ""
        if self._form == "table":
            _log.info("%d fault(s), %d warning(s)", counts[Level.FAULT], counts[Level.WARNING])
        else:
            rows = [
                {"level": each.level.value, "subject": each.subject, "message": each.message, "advice": each.advice}
                for each in self._findings
            ]
            text = render_rows(rows, self._form)
        status = AiperfError.exit_status if counts[Level.FAULT] else 0
        if not self.is_reachable:
            status = SchedulerUnreachableError.exit_status
        return CommandOutput(text, status, self._form)

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
    if isinstance(settings, AgentsSettings):
        yield ok("scheduler", agents_by_hand(settings, concurrency))
        return
    try:
        script, violations = rendered_script(loaded), script_violations(loaded)
    except UsageError as error:
        yield fault("script", str(error))
        return
    for violation in violations:
        make = fault if violation.is_fault else warning
        yield make("script", f"{violation.line}: {violation.message}", violation.advice)
    if isinstance(settings, SlurmSettings):
        from aiperf_orch.doctor import slurm_checks

        yield from slurm_checks.checks(settings, concurrency, loaded.settings.campaign.duration, script)
        return
    if isinstance(settings, PbsSettings):
        from aiperf_orch.doctor import pbs_checks

        yield from pbs_checks.checks(settings, concurrency, loaded.settings.campaign.duration)
        return
    warnings = make_scheduler(settings).check(concurrency)
    yield from (warning("scheduler", message) for message in warnings)
    if not warnings:
        yield ok("scheduler", f"{settings.kind}: {concurrency} trials at once have cores of their own")


def _location_and_probe_job(
    findings: _Findings, settings: SiteSettings, parent: Path, *, job: bool, wait: float
) -> Iterator[Finding]:
    with probe_job.probe_folder(parent) as folder:
        yield from campaign_location.checks(settings, folder)
        if isinstance(settings.scheduler, AgentsSettings):
            return  # nothing is submitted
        if not job or not findings.is_reachable or any(map(findings.has_fault, ("location", "script", "scheduler"))):
            return
        if isinstance(settings.scheduler, ClusterSettings):  # the probe job is a trial's, also beside allocations
            settings = settings.model_copy(update={"scheduler": trial_job(settings.scheduler)})
        with progress_line("check"):
            outcome = probe_job.run(make_scheduler(settings.scheduler), settings, folder, wait=wait, log=_log.info)
        yield from evaluate_probe(settings, outcome)


@contextmanager
def _signals_raise() -> Iterator[None]:
    """SIGTERM and SIGHUP end this process as Ctrl-C does: after its job has been cancelled."""

    def handle(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    with handle_signals((signal.SIGTERM, signal.SIGHUP), handle):
        yield
