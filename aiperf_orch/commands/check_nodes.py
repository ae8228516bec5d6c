"""`check --every-node`: examine all nodes of the site by jobs, and print one page about them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.cost_estimate import agree
from aiperf_orch.commands.progress_line import progress_line
from aiperf_orch.commands.table_output import render_rows
from aiperf_orch.doctor.findings import Level
from aiperf_orch.doctor.node_findings import evaluate_nodes, page
from aiperf_orch.doctor.node_jobs import TIME_LIMIT, check_nodes
from aiperf_orch.doctor.probe_job import probe_folder
from aiperf_orch.doctor.site_nodes import SiteNode, job_groups, site_nodes
from aiperf_orch.settings.loading import LoadedSettings
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import AiperfError, UsageError
from aiperf_orch.util.units import count, format_duration, format_time, now

_log: Final = logging.getLogger(__name__)


def check_every_node(
    loaded: LoadedSettings, campaign_dir: Path | None, form: str, *, wait: float, yes: bool
) -> CommandOutput:
    """Examine all nodes of the site.

    Args:
        loaded: The settings.
        campaign_dir: The directory that the campaign would have; None is one under ./campaigns.
        form: `table` for the page; `csv` or `json` for its findings.
        wait: Seconds that jobs may wait in the queue; nodes whose jobs have not started by then are not tried.
        yes: The user has agreed to the cost beforehand.

    Returns:
        The page, and the exit status: 0 ready, 1 not ready.

    Raises:
        UsageError: When no job can be sent to a node, or the user does not agree.
        SchedulerUnreachableError: When the scheduler does not answer.
    """
    settings = loaded.settings
    nodes = site_nodes(settings.scheduler)
    groups = job_groups(settings.scheduler, nodes)
    if not groups:
        raise UsageError("--every-node: no node of the partition or queue is in service")
    if isinstance(settings.scheduler, ClusterSettings):
        agree(_cost(groups, wait), yes=yes)
    parent = campaign_dir.absolute().parent if campaign_dir else Path.cwd() / "campaigns"
    begun = format_time(now())
    with probe_folder(parent) as folder, progress_line("check"):
        results = check_nodes(settings, nodes, folder, wait=wait, log=_log.info)
    findings = list(evaluate_nodes(results, settings))
    examined = sum(result.tried for result in results)
    failed = not examined or any(finding.level is Level.FAULT for finding in findings)
    if form == "table":
        text = page(findings, f"{_place(settings, nodes)}, {begun}", examined)
    else:
        rows = [
            {"level": each.level.value, "subject": each.subject, "message": each.message, "advice": each.advice}
            for each in findings
        ]
        text = render_rows(rows, form)
    return CommandOutput(text, AiperfError.exit_status if failed else 0, form)


def _cost(groups: Sequence[Sequence[str]], wait: float) -> str:
    """What the check takes of a cluster, at most."""
    nodes = sum(map(len, groups))
    return (
        f"{count(nodes, 'node')} x {TIME_LIMIT / 60:.0f} minutes at most: {nodes * TIME_LIMIT / 3600:,.1f} node-hours, "
        f"by {count(len(groups), 'job')}; those that do not start within {format_duration(wait)} are removed (--wait)"
    )


def _place(settings: SiteSettings, nodes: Sequence[SiteNode]) -> str:
    scheduler = settings.scheduler
    where = getattr(scheduler, "partition", None) or getattr(scheduler, "queue", None) or "default"
    return f"aiperf-orch check --every-node: {scheduler.kind}, {where}, {count(len(nodes), 'node')}"
