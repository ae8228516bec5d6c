"""`run`: start or resume a campaign, and control it in the foreground or in the background."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.permissions import parent_warnings
from aiperf_orch.campaign.plan_file import check_plan, read_plan, read_plan_of
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.commitment import announce_commitment
from aiperf_orch.commands.cost_estimate import confirm_cost
from aiperf_orch.commands.detach import detach
from aiperf_orch.commands.escaped_output import show
from aiperf_orch.commands.foreground_controller import Outcome, restrict_umask, run_controller
from aiperf_orch.commands.render import check_scripts
from aiperf_orch.commands.score import summary, write_result_files
from aiperf_orch.commands.self_invocation import command_line, cron_line
from aiperf_orch.commands.site_options import describe
from aiperf_orch.commands.workforce_summary import held_resources, how_to_start
from aiperf_orch.records.plan import Plan
from aiperf_orch.results.result import compute_result
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.search import make_search
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import AgentsSettings, LocalSettings
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.torch_extra import ADVICE, is_torch_installed
from aiperf_orch.util.units import format_duration, format_time, now

_log: Final = logging.getLogger(__name__)
_SUBMIT_PROGRAMS: Final = {"slurm": ["sbatch"], "pbs": ["qsub"]}


def check_settings(loaded: LoadedSettings, campaign_dir: Path | None) -> CommandOutput:
    """Check the settings as `run` does, and return them with the origin of each (`run --dry-run`)."""
    _check_before_start(loaded, campaign_dir)
    return CommandOutput(describe(loaded))


def run_campaign(
    loaded: LoadedSettings,
    site: Path | None,
    campaign_dir: Path | None,
    *,
    take_over: bool = False,
    yes: bool = False,
    background: bool = False,
    prepare: bool = False,
    plan: Path | None = None,
) -> CommandOutput:
    """Start or resume a campaign.

    Args:
        loaded: The settings.
        site: The site file that they were loaded from; None for a campaign that exists.
        campaign_dir: The campaign's directory, new or existing; None makes a new one under ./campaigns.
        take_over: Take the campaign over from a controller on another host.
        yes: The user has agreed to the cost on a cluster.
        background: Leave the controller running in the background.
        prepare: Only make the campaign.
        plan: Plan of the campaign, the output of `plan`, which a new campaign journals; None without one.

    Returns:
        The exit status; progress, warnings and the summary have been printed.
    """
    restrict_umask(loaded.settings)
    directory = _check_before_start(loaded, campaign_dir)
    if directory is None:
        _require_torch(loaded.settings)
    planned = _plan_of(plan, loaded.settings, directory)
    snapshot = read_snapshot(directory) if directory and not prepare else None
    over = _time_is_over(snapshot.state, directory.settings) if directory and snapshot else ""
    if not prepare and not over:
        settings = directory.settings if directory else loaded.settings
        confirm_cost(settings, _seconds_left(snapshot.state if snapshot else None, settings), yes=yes)
    if directory and over:
        _log.info("%s: %s", directory.path, over)
    elif directory:
        _log.info("going on with the campaign in %s", directory.path)
    else:
        directory = CampaignDirectory.create(campaign_dir or _new_path(site), loaded.settings, loaded.origins, planned)
        for warning in parent_warnings(directory.path):
            _log.warning("%s", warning)
        _log.info("new campaign in %s, for %s", directory.path, format_duration(loaded.settings.campaign.duration))
    if prepare:
        step = ["tick", str(directory.path)]
        needed = _SUBMIT_PROGRAMS.get(directory.settings.scheduler.kind, [])
        _log.info("nothing was submitted; one step of the campaign: %s", command_line(step))
        _log.info("every two minutes, by cron: %s", cron_line(step, needed))
        _explain_agents(directory)
        return CommandOutput()
    if snapshot and snapshot.state.phase is Phase.FINISHED and not held_resources(snapshot.state, directory.settings):
        return _finish(directory, Phase.FINISHED)
    if background:
        process = detach(directory, _foreground_arguments(directory.path))
        announce_commitment(directory, again=True)  # the controller logged it in the background
        status, stop = (command_line([each, str(directory.path)]) for each in ("status", "stop"))
        _log.info(
            "the controller runs in the background as process %d; its log is %s", process, directory.controller_log
        )
        _announce_report(directory)
        _log.info("to see its state: %s\nto end it: %s", status, stop)
        _explain_agents(directory)
        return CommandOutput()
    _explain_agents(directory)
    _announce_report(directory)
    outcome = run_controller(directory, take_over=take_over, snapshot=snapshot)
    return _finish(directory, outcome.phase, outcome)


def _require_torch(settings: SiteSettings) -> None:
    """Refuse a new campaign whose trials would run in this interpreter, which has no PyTorch.

    Raises:
        UsageError: It is missing. `setup`, a template or `python` of the site may bring one: then trials check it.
    """
    scheduler = settings.scheduler
    is_here = isinstance(scheduler, LocalSettings) and not (scheduler.python or scheduler.setup or scheduler.template)
    if is_here and not settings.simulated and not is_torch_installed():
        raise UsageError(f"torch is not installed ({sys.executable}); {ADVICE}")


def _time_is_over(state: CampaignState, settings: SiteSettings) -> str:
    """What to say of a campaign after its deadline or its end; empty before."""
    deadline = state.deadline(settings.campaign.duration)
    if deadline is not None and (state.by_deadline or (state.phase is not Phase.FINISHED and now() >= deadline)):
        lasted = format_duration(settings.campaign.duration)
        return f"its time is over: its {lasted} ended at {format_time(deadline)}, and no further trial starts"
    if state.phase is Phase.FINISHED:
        return f"is finished: {state.phase_reason}"
    return ""


def _plan_of(path: Path | None, settings: SiteSettings, directory: CampaignDirectory | None) -> Plan | None:
    """The plan of a campaign. One that exists must have been made with it.

    Raises:
        UsageError: The plan cannot be read, is for another size or duration, or the campaign was made without it.
    """
    if path is None:
        return None
    plan = read_plan(path)
    check_plan(path, plan, settings)
    if directory is not None and read_plan_of(directory) != plan:
        raise UsageError(
            f"--plan: {directory.path} was made without this plan: leave out --plan, or give another --campaign-dir"
        )
    return plan


def _announce_report(directory: CampaignDirectory) -> None:
    """Log where the report is, which a browser shows while the campaign runs."""
    _log.info("its report, written again each minute: %s", directory.report)


def _explain_agents(directory: CampaignDirectory) -> None:
    """Log how agents are started, where the campaign submits none."""
    if isinstance(directory.settings.scheduler, AgentsSettings):
        _log.info("trials run on agents, and this campaign submits none; %s", how_to_start(directory))


def _check_before_start(loaded: LoadedSettings, campaign_dir: Path | None) -> CampaignDirectory | None:
    """Refuse what cannot run before anything is made; returns the campaign if it exists.

    Raises:
        UsageError: for a seed network beyond the limits, a batch script that violates its contract, or a campaign
            directory that is not one, belongs to another user, or was made with other settings.
    """
    make_search(loaded.settings)
    for warning in make_scheduler(loaded.settings.scheduler).check(loaded.settings.campaign.concurrency):
        _log.warning("%s", warning)
    exists = campaign_dir is not None and CampaignDirectory.exists(campaign_dir)
    for warning in check_scripts(loaded, resumed=exists):
        _log.warning("%s", warning)
    if campaign_dir is None or not exists:
        return None
    directory = CampaignDirectory.open(campaign_dir)
    directory.check_same_settings(loaded.settings, loaded.origins)
    return directory


def _finish(directory: CampaignDirectory, phase: Phase, outcome: Outcome | None = None) -> CommandOutput:
    """Score the campaign, print its state, and choose the exit status."""
    result = compute_result(directory)
    show(f"{summary(result)}\n")  # first: a full disk must not keep the score from the user
    write_result_files(result)
    command = command_line(["run", "--campaign-dir", str(directory.path)])
    match phase:
        case Phase.FINISHED:
            return CommandOutput()
        case Phase.PAUSED:
            _log.error(
                "paused: %s\ncorrect the cause (`aiperf-orch set` changes settings) and go on: %s",
                result.state.phase_reason,
                command,
            )
            return CommandOutput(exit_status=ExitStatus.FAILED)
        case Phase.STOPPED:
            _log.info("stopped; go on, to the same deadline: %s", command)
        case Phase.RUNNING:
            live, cancelled = (outcome.live, outcome.cancelled) if outcome else (len(result.state.live), 0)
            what = (
                f"{cancelled} of {live} live trial(s) were signalled to end"
                if cancelled
                else f"{live} live trial(s) run on"
            )
            if held := held_resources(result.state, directory.settings):
                what += f"; kept: {held}; idle agents end after {_agents_wait(directory)} without a controller"
            _log.info("left; %s; go on: %s", what, command)
    interrupted = outcome is not None and outcome.interrupted
    return CommandOutput(exit_status=ExitStatus.INTERRUPTED if interrupted else ExitStatus.NOT_FINISHED)


def _agents_wait(directory: CampaignDirectory) -> str:
    """Time for which idle agents wait for a controller."""
    settings = directory.settings
    placement = placement_settings(settings.scheduler, settings.campaign.concurrency)
    return format_duration(placement.wait_for_controller if placement else 0.0)


def _seconds_left(state: CampaignState | None, settings: SiteSettings) -> float:
    """Seconds until the campaign's deadline; its whole duration before its first trial has begun."""
    deadline = state.deadline(settings.campaign.duration) if state else None
    return settings.campaign.duration if deadline is None else max((deadline - now()).total_seconds(), 0.0)


def _foreground_arguments(path: Path) -> list[str]:
    """Arguments of the controller in the background: those of this process, without questions to the user."""
    return [*(word for word in _with_directory(sys.argv[1:], path) if word not in ("--detach", "--yes")), "--yes"]


def _with_directory(arguments: Sequence[str], path: Path) -> list[str]:
    is_named = any(word.startswith("--campaign-dir") for word in arguments)
    return [*arguments] if is_named else [*arguments, "--campaign-dir", str(path)]


def _new_path(site: Path | None) -> Path:
    """Make a new directory under ./campaigns that no campaign which starts in the same second gets too."""
    if site is None:
        raise UsageError("SITE: give a site file for a new campaign")
    stem = f"{site.stem}-{now():%Y%m%d-%H%M%S}"
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        path = Path("campaigns") / f"{stem}{suffix}"
        try:
            with translate_os_errors(path, passing=FileExistsError):
                path.parent.mkdir(exist_ok=True)
                path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise UsageError(f"campaigns/{stem}: a hundred campaigns started in this second; give --campaign-dir")
