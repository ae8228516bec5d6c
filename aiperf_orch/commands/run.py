"""`run`, `tick` and `stop`: the commands that take a campaign up."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.consistency import read_snapshot, read_state
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import translate_os_errors
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.ownership import parent_warnings
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.commands.controller_thread import Outcome, control, restrict
from aiperf_orch.commands.cost_estimate import confirm
from aiperf_orch.commands.detach import detach
from aiperf_orch.commands.live_view import PlainLines
from aiperf_orch.commands.own_command import command_line, cron_line
from aiperf_orch.commands.render import check_contract
from aiperf_orch.commands.score import summary, write_files, write_score
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.search_adapter import make_search
from aiperf_orch.results.result import compute_result
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UsageError
from aiperf_orch.util.units import format_duration, now

_DONE: Final = 0
_FAILED: Final = 1
_NOT_FINISHED: Final = 4
_INTERRUPTED: Final = 130


def check(loaded: LoadedSettings, campaign_dir: Path | None) -> CampaignDirectory | None:
    """Refuse what cannot be run before anything is made; returns the campaign that is there already, if any.

    Raises:
        UsageError: for a seed network beyond the limits, a batch script against the contract, or a campaign directory
            that is not one, is not ours, or was made by other settings.
    """
    make_search(loaded.settings)
    for warning in make_scheduler(loaded.settings.scheduler).check(loaded.settings.campaign.concurrency):
        _say(f"warning: {warning}")
    exists = campaign_dir is not None and CampaignDirectory.exists(campaign_dir)
    for warning in check_contract(loaded, resumed=exists):
        _say(f"warning: {warning}")
    if campaign_dir is None or not exists:
        return None
    directory = CampaignDirectory.open(campaign_dir)
    directory.check_same_settings(loaded.settings)
    return directory


def run(
    loaded: LoadedSettings,
    site: Path,
    campaign_dir: Path | None,
    *,
    take_over: bool = False,
    yes: bool = False,
    background: bool = False,
    prepare: bool = False,
) -> int:
    """Run a campaign, new or resumed.

    Args:
        loaded: the settings.
        site: the file that they came from.
        campaign_dir: where the campaign lies or will lie; None is a new directory under ./campaigns.
        take_over: take the campaign from another host's controller.
        yes: what it takes of a cluster is agreed to.
        background: leave the controller running in the background.
        prepare: make the campaign only.

    Returns:
        The exit status.
    """
    restrict(loaded.settings)
    directory = check(loaded, campaign_dir)
    snapshot = read_snapshot(directory) if directory and not prepare else None
    if not prepare:
        confirm(loaded.settings, _seconds_left(snapshot.state if snapshot else None, loaded.settings), yes=yes)
    if directory:
        _say(f"going on with the campaign in {directory.path}")
    else:
        directory = CampaignDirectory.create(campaign_dir or _new_path(site), loaded.settings, loaded.origins)
        for doubt in parent_warnings(directory.path):
            _say(f"warning: {doubt}")
        _say(f"new campaign in {directory.path}, for {format_duration(loaded.settings.campaign.duration)}")
    if prepare:
        step, scheduler = ["tick", str(directory.path)], directory.settings.scheduler.kind
        needed = {"slurm": ["sbatch"], "pbs": ["qsub"]}.get(scheduler, [])
        _say(f"nothing was submitted; a step of it: {command_line(step)}")
        _say(f"every two minutes, by cron: {cron_line(step, needed)}")
        return _DONE
    if snapshot and snapshot.state.phase is Phase.FINISHED:
        return _finish(directory, Phase.FINISHED)
    if background:
        process = detach(directory, _in_foreground(directory.path))
        shown, ended = (command_line([each, str(directory.path)]) for each in ("status", "stop"))
        _say(f"the controller runs in the background as process {process}; it writes {directory.controller_log}")
        _say(f"how it stands: {shown}\nto end it: {ended}")
        return _DONE
    outcome = control(directory, take_over=take_over, snapshot=snapshot)
    return _finish(directory, outcome.phase, outcome)


def tick(campaign_dir: Path, *, take_over: bool) -> int:
    """One step of a campaign; returns the exit status."""
    directory = CampaignDirectory.open(campaign_dir)
    snapshot = read_snapshot(directory)
    if snapshot.state.phase is Phase.FINISHED:
        write_score(directory)
        _say(f"{directory.path}: is finished already")
        return _DONE
    restrict(directory.settings)
    lines = PlainLines()
    controller = Controller(
        directory,
        make_scheduler(directory.settings.scheduler),
        resume=False,
        take_over=take_over,
        warn=lines.warn,
        snapshot=snapshot,
    )
    try:
        lines.show(controller)
        phase = controller.tick()
        lines.show(controller)
    finally:
        controller.close()
    _say(
        f"{directory.path}: {phase.value}, {len(controller.state.live)} running, {controller.state.trials_ended} ended"
    )
    if phase is Phase.RUNNING or controller.busy:
        return _NOT_FINISHED
    if phase is Phase.FINISHED:
        write_score(directory)
    return {Phase.FINISHED: _DONE, Phase.PAUSED: _FAILED}.get(phase, _NOT_FINISHED)


def stop(campaign_dir: Path, *, take_over: bool) -> int:
    """Stop a campaign, by its live controller or in its place; returns the exit status."""
    directory = CampaignDirectory.open(campaign_dir)
    state = read_state(directory)
    if state.phase is Phase.FINISHED or (state.phase is Phase.STOPPED and not state.live):
        _say(f"{directory.path}: is {state.phase.value} already")
        return _DONE
    directory.request_stop()
    holder, before, outcome = read_holder(directory.lock), len(state.ends), None
    if holder and holder.alive() is not False and not take_over:
        interval = format_duration(directory.settings.scheduler.poll_interval)
        _say(
            f"{directory.path}: asked its controller (process {holder.pid} on {holder.host}) to stop; "
            f"it looks for the request every {interval}"
        )
        try:
            left = _has_left(directory)
        except KeyboardInterrupt:
            _say(f"{directory.path}: not stopped yet, and not waited for: its controller goes on to end its trials")
            return _INTERRUPTED
        if not left:
            live = read_state(directory).live.values()
            told = sum(attempt.cancelling is not None for attempt in live)
            _say(f"{directory.path}: not stopped yet: its controller still ends {told} of {len(live)} live trial(s)")
            return _NOT_FINISHED
    snapshot = read_snapshot(directory)
    state = snapshot.state
    if state.live or state.phase is Phase.RUNNING:
        _say(f"{directory.path}: no controller runs: {len(state.live)} live trial(s) are ended from here")
        outcome = control(directory, take_over=take_over, resume=False, snapshot=snapshot)
        state = read_state(directory)
    if state.live:
        told = outcome.told if outcome else 0
        _say(
            f"{directory.path}: not stopped: of {len(state.live)} live trial(s) {told} were told to end, and none is "
            f"known to have ended; end them: {command_line(['stop', str(directory.path)])}"
        )
        return _INTERRUPTED if outcome and outcome.interrupted else _NOT_FINISHED
    _say(f"{directory.path}: {state.phase.value}; {len(state.ends) - before} trial(s) were ended")
    return _DONE


def _has_left(directory: CampaignDirectory) -> bool:
    """Whether the campaign's live controller leaves it within the time that trials may take to end."""
    patience = time.monotonic() + 3 * directory.settings.scheduler.stop_grace
    while time.monotonic() < patience:
        holder = read_holder(directory.lock)
        if holder is None or holder.alive() is False:
            return True
        time.sleep(0.1)
    return False


def _finish(directory: CampaignDirectory, phase: Phase, outcome: Outcome | None = None) -> int:
    """Score what there is, say how it stands, and choose the exit status."""
    result = compute_result(directory)
    print(summary(result), flush=True)  # first: a disk that is full must not keep the score from the user
    write_files(result)
    again = _again(directory.path)
    match phase:
        case Phase.FINISHED:
            return _DONE
        case Phase.PAUSED:
            _say(
                f"error: paused: {result.state.phase_reason}\n"
                f"mend that and go on (a changed setting needs a new campaign): {again}"
            )
            return _FAILED
        case Phase.STOPPED:
            _say(f"stopped; go on, to the same deadline: {again}")
        case Phase.RUNNING:
            live, told = (outcome.live, outcome.told) if outcome else (len(result.state.live), 0)
            what = f"{told} of {live} live trial(s) were told to end" if told else f"{live} live trial(s) run on"
            _say(f"left; {what}; go on: {again}")
    return _INTERRUPTED if outcome and outcome.interrupted else _NOT_FINISHED


def _seconds_left(state: CampaignState | None, settings: SiteSettings) -> float:
    """Seconds that a campaign may still take, whether it has begun or not."""
    deadline = state.deadline(settings.campaign.duration) if state else None
    return settings.campaign.duration if deadline is None else max((deadline - now()).total_seconds(), 0.0)


def _again(path: Path) -> str:
    """The command that goes on with this campaign: the one that was given, with the campaign's directory."""
    return command_line(_with_directory(sys.argv[1:], path))


def _in_foreground(path: Path) -> list[str]:
    """The arguments of the controller in the background: those that were given, and nobody is asked again."""
    return [*(word for word in _with_directory(sys.argv[1:], path) if word not in ("--detach", "--yes")), "--yes"]


def _with_directory(given: Sequence[str], path: Path) -> list[str]:
    named = any(word.startswith("--campaign-dir") for word in given)
    return [*given] if named else [*given, "--campaign-dir", str(path)]


def _new_path(site: Path) -> Path:
    """Make a new directory under ./campaigns, which no other campaign that begins now gets too."""
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
    raise UsageError(f"campaigns/{stem}: a hundred campaigns began this second; give --campaign-dir")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
