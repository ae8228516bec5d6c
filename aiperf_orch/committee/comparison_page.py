"""Page of a comparison: the rows of `comparison` as tables."""

from __future__ import annotations

from pathlib import Path

import aiperf_orch
from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.committee.comparison import Comparison
from aiperf_orch.results.html import render_page


def write_page(found: Comparison, output: Path) -> None:
    """Write the page; cells of a row whose campaigns differ are emphasised."""
    page = render_page("comparison.html.j2", found=found, simulated=found.simulated, software=aiperf_orch.__version__)
    replace_file(output, page.encode())
