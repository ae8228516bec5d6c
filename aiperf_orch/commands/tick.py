"""`tick`: one step of a campaign, for cron."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.snapshot import read_snapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput, ExitStatus
from aiperf_orch.commands.commitment import announce_commitment
from aiperf_orch.commands.foreground_controller import restrict_umask
from aiperf_orch.commands.live_view import PlainLines, trial_counts, workforce_lines
from aiperf_orch.commands.messages import timed_messages
from aiperf_orch.commands.metrics_file import MetricsFile
from aiperf_orch.commands.score import write_score
from aiperf_orch.commands.workforce_summary import held_resources
from aiperf_orch.controller.controller import Controller
from aiperf_orch.schedulers.registry import make_trial_scheduler

_log: Final = logging.getLogger(__name__)


def step_campaign(campaign_dir: Path, *, take_over: bool) -> CommandOutput:
    """Run one step of a campaign; returns the exit status: 0 finished, 1 paused, 4 it goes on."""
    directory = CampaignDirectory.open(campaign_dir)
    snapshot = read_snapshot(directory)
    if snapshot.state.phase is Phase.FINISHED and not held_resources(snapshot.state, directory.settings):
        write_score(directory)
        _log.info("%s: is finished already", directory.path)
        return CommandOutput()
    restrict_umask(directory.settings)
    lines = PlainLines()
    with timed_messages():
        controller = Controller(
            directory,
            make_trial_scheduler(directory),
            resume=False,
            take_over=take_over,
            warn=lines.warn,
            snapshot=snapshot,
        )
        try:
            announce_commitment(directory)
            lines.show(controller)
            phase = controller.tick()
            lines.show(controller)
            MetricsFile(lines.warn).write(controller)
        finally:
            controller.close()
    resume = "; `aiperf-orch run` resumes it" if phase is Phase.STOPPED else ""
    counts = [trial_counts(controller), *workforce_lines(controller)]
    _log.info("%s: %s, %s%s", directory.path, phase.value, "; ".join(counts), resume)
    if phase is Phase.RUNNING or controller.busy:
        return CommandOutput(exit_status=ExitStatus.NOT_FINISHED)
    if phase is Phase.FINISHED:
        write_score(directory)
    statuses = {Phase.FINISHED: ExitStatus.DONE, Phase.PAUSED: ExitStatus.FAILED}
    return CommandOutput(exit_status=statuses.get(phase, ExitStatus.NOT_FINISHED))
