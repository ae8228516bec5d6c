"""`report`: write a campaign's report.html again from its records."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.running_report import REPORT_INTERVAL
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import compute_result
from aiperf_orch.util.death_signal import die_with

_LOWEST_PRIORITY: Final = 19


def write_running_report(campaign_dir: Path, controller: int) -> CommandOutput:
    """Write the report of a campaign that runs; nothing where it does not run any more.

    The page reads itself again each minute. This process has the lowest priority, and ends with the controller, so that
    it never replaces the page that is written at the end.

    Args:
        campaign_dir: The campaign.
        controller: Process id of its controller, which started this process.
    """
    os.nice(_LOWEST_PRIORITY)
    die_with(controller)
    gc.disable()
    result = compute_result(CampaignDirectory.open(campaign_dir))
    if result.phase is Phase.RUNNING:
        write_report(result, refresh=REPORT_INTERVAL)
    return CommandOutput()


def write_report_again(campaign_dir: Path, output: Path | None) -> CommandOutput:
    """Write the report to `output`, by default into the campaign's directory; returns its path."""
    gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
    with progress_line("report"):
        path = write_report(compute_result(CampaignDirectory.open(campaign_dir)), output)
    return CommandOutput(f"{path}\n")
