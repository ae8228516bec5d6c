"""report.html: the result of a campaign as one HTML page. The layout is in the template."""

from __future__ import annotations

from pathlib import Path

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.results.plots import draw_chart
from aiperf_orch.results.report_data import report_data
from aiperf_orch.results.report_page import report_page
from aiperf_orch.results.result import Result


def write_report(result: Result, path: Path | None = None, refresh: int | None = None) -> Path:
    """Write the report, replacing an earlier one; the default path is report.html of the campaign. Returns the path."""
    path = path or result.directory.report
    replace_file(path, render_report(result, refresh).encode())
    return path


def render_report(result: Result, refresh: int | None = None) -> str:
    """Render the report as HTML; the same records give the same bytes.

    Args:
        result: The result.
        refresh: Seconds after which a browser reads the page again; None for a page that stays as it is.
    """
    return report_page(report_data(result), draw_chart, refresh)
