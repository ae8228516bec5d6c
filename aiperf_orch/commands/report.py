"""`report`: write a campaign's report.html again from its records."""

from __future__ import annotations

import gc
from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import compute_result


def write_report_again(campaign_dir: Path, output: Path | None) -> CommandOutput:
    """Write the report to `output`, by default into the campaign's directory; returns its path."""
    gc.disable()  # many small objects that all stay: the search for cycles among them takes a third of the time
    with progress_line("report"):
        path = write_report(compute_result(CampaignDirectory.open(campaign_dir)), output)
    return CommandOutput(f"{path}\n")
