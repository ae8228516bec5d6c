"""`render`: batch script of a trial or an allocation, and its violations of the script contract; submits nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.layout import Layout
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.doctor.way_to_run import agents_by_hand
from aiperf_orch.schedulers.allocation_jobs import allocation_request, make_allocation_scheduler
from aiperf_orch.schedulers.base import JobRequest, Scheduler, trial_command
from aiperf_orch.schedulers.pbs import script_contract as pbs
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.schedulers.script_contract import Expected, Violation, body_violations, follower_violations
from aiperf_orch.schedulers.script_rendering import render_script
from aiperf_orch.schedulers.slurm import script_contract as slurm
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.schedulers import AgentsSettings, ClusterSettings, PbsSettings, SlurmSettings
from aiperf_orch.util.errors import UsageError

_log: Final = logging.getLogger(__name__)
_NAME: Final = "abcde-00000-1"
_ALLOCATION: Final = "abcde-a00001"
_ARRAY, _INDEX = "abcde-w00000", 3
_LEADER: Final = "123456"


def print_script(loaded: LoadedSettings) -> CommandOutput:
    """Render the batch script of a trial or an allocation; violations of the contract that are no faults are warnings.

    Raises:
        UsageError: for violations that would keep a campaign from running.
    """
    settings = loaded.settings.scheduler
    if isinstance(settings, AgentsSettings):
        _log.info("%s", agents_by_hand(settings, loaded.settings.campaign.concurrency))
        return CommandOutput()
    script = rendered_script(loaded)
    print(script, end="", flush=True)
    for warning in check_scripts(loaded, resumed=False):
        _log.warning("%s", warning)
    return CommandOutput()


def rendered_script(loaded: LoadedSettings) -> str:
    """The script of the first allocation, else of trial 0's first attempt, in an example campaign directory."""
    scheduler = _allocation_scheduler(loaded)
    if scheduler is not None:
        return scheduler.render(_allocation_request(loaded))
    return make_scheduler(loaded.settings.scheduler).render(_request(loaded, _NAME))


def script_violations(loaded: LoadedSettings) -> list[Violation]:
    """Violations of the contract in the scripts that would be submitted, each with its file and line.

    Raises:
        UsageError: when they cannot be rendered.
    """
    settings = loaded.settings.scheduler
    if isinstance(settings, AgentsSettings):
        return []
    allocations = _allocation_scheduler(loaded)
    found = _of_trials(loaded) if allocations is None else _of_allocations(loaded, allocations)
    return list(dict.fromkeys(_located(loaded, found)))


def _of_trials(loaded: LoadedSettings) -> list[Violation]:
    """Violations in the scripts of trials that are jobs of their own."""
    settings = loaded.settings.scheduler
    scheduler = make_scheduler(settings)
    expected = Expected(_NAME, scheduler.early_log)
    if isinstance(settings, ClusterSettings):
        expected = replace(expected, requeue=settings.requeue, nodes=settings.nodes)
    found = _violations_of(loaded, scheduler, _request(loaded, _NAME), expected)
    if isinstance(settings, SlurmSettings):  # first attempts are elements of arrays
        element = _request(loaded, f"{_ARRAY}[{_INDEX}]")
        found += _violations_of(loaded, scheduler, element, replace(expected, name=_ARRAY, elements=str(_INDEX)))
    if isinstance(settings, ClusterSettings) and settings.lookahead:
        follower = scheduler.render(replace(_request(loaded, _NAME), after=_LEADER))
        found += follower_violations(follower, _LEADER)
    return found


def _of_allocations(loaded: LoadedSettings, scheduler: Scheduler) -> list[Violation]:
    """Violations in the scripts of allocations."""
    settings, request = loaded.settings.scheduler, _allocation_request(loaded)
    own = settings.allocations if isinstance(settings, ClusterSettings) else None
    expected = Expected(_ALLOCATION, scheduler.early_log, nodes=own.nodes if own else 1, is_allocation=True)
    found = _violations_of(loaded, scheduler, request, expected)
    if own is not None:  # each is followed by the next
        found += follower_violations(scheduler.render(replace(request, after=_LEADER)), _LEADER)
    return found


def _violations_of(
    loaded: LoadedSettings, scheduler: Scheduler, request: JobRequest, expected: Expected
) -> list[Violation]:
    settings, script = loaded.settings.scheduler, scheduler.render(request)
    guard = render_script("guard.sh.j2", None, campaign=request.campaign)
    found = list(body_violations(script, guard, expected, is_cluster=isinstance(settings, ClusterSettings)))
    match settings:
        case SlurmSettings():
            found += slurm.violations(script, expected)
        case PbsSettings():
            found += pbs.violations(script, expected)
    return found


def check_scripts(loaded: LoadedSettings, *, resumed: bool) -> list[str]:
    """Check the scripts that would be submitted; returns warnings.

    Args:
        loaded: The settings.
        resumed: The campaign has run already: faults are only warnings.

    Raises:
        UsageError: for faults in the scripts of a new campaign.
    """
    found = script_violations(loaded)
    faults = [str(violation) for violation in found if violation.is_fault]
    if faults and not resumed:
        raise UsageError("\n".join(faults))
    return [str(violation) for violation in found]


def _request(loaded: LoadedSettings, name: str) -> JobRequest:
    example = Layout(Path.cwd() / "campaigns" / "example")
    return JobRequest(
        name=name,
        folder=example.job_folder(0, 1),
        submit_folder=example.job_folder(0, 1),
        campaign=example.path,
        command=trial_command(loaded.settings.scheduler.python, example.spec(0), 1),
    )


def _allocation_scheduler(loaded: LoadedSettings) -> Scheduler | None:
    return make_allocation_scheduler(loaded.settings.scheduler, loaded.settings.campaign.concurrency)


def _allocation_request(loaded: LoadedSettings) -> JobRequest:
    example = Layout(Path.cwd() / "campaigns" / "example")
    return allocation_request(example, loaded.settings.scheduler, _ALLOCATION)


def _located(loaded: LoadedSettings, found: list[Violation]) -> Iterator[Violation]:
    """The violations, with the file and the key that each comes from."""
    settings = loaded.settings.scheduler
    directives = settings.directives if isinstance(settings, ClusterSettings) else []
    for violation in found:
        directive = next((each for each in directives if violation.line and violation.line.endswith(f" {each}")), None)
        if directive is not None:
            where = f"{loaded.origins.get('scheduler.directives', 'scheduler.directives')}: scheduler.directives: "
            yield replace(violation, line=f"{where}{directive}")
        elif settings.template:
            line = f": {violation.line}" if violation.line else ""
            yield replace(violation, line=f"{settings.template}{_line_of(violation.line, settings.template)}{line}")
        else:
            yield replace(violation, line=f"the script: {violation.line}" if violation.line else "the script")


def _line_of(line: str, template: str) -> str:
    """`:LINE` if the rendered line stands unchanged in the template, else empty."""
    lines = Path(template).read_text(encoding="utf-8").splitlines()
    return f":{lines.index(line) + 1}" if line in lines else ""
