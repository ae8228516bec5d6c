"""`report`: draws a campaign's report.html anew from its records."""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.results.report import write_report
from aiperf_orch.results.result import compute_result


def report(campaign_dir: Path, output: Path | None) -> Path:
    """Write the report to `output`, by default into the campaign's directory; returns its path."""
    return write_report(compute_result(CampaignDirectory.open(campaign_dir)), output)
