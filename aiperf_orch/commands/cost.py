"""Says what a campaign on a cluster will take, and asks before anything is submitted."""

from __future__ import annotations

import sys

import click

from aiperf_orch.config import SiteSettings
from aiperf_orch.config_schedulers import ClusterSettings
from aiperf_orch.errors import UsageError
from aiperf_orch.units import format_duration


def confirm(settings: SiteSettings, seconds: float, *, yes: bool) -> None:
    """Say how many nodes a campaign takes for how long, and go on only when the person agrees; at once on one machine.

    Args:
        settings: of the campaign.
        seconds: that it may still take.
        yes: the person agreed beforehand.

    Raises:
        UsageError: when nobody can be asked, or the person does not agree.
    """
    cost = describe(settings, seconds)
    if cost is None:
        return
    print(cost, file=sys.stderr, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm this: give --yes")
    if not click.confirm("submit to the cluster?", default=False, err=True):
        raise UsageError("not confirmed: nothing was submitted")


def describe(settings: SiteSettings, seconds: float) -> str | None:
    """What a campaign takes of a cluster at most, in words; None when it takes none."""
    scheduler, trials = settings.scheduler, settings.campaign.concurrency
    if not isinstance(scheduler, ClusterSettings):
        return None
    trials += scheduler.lookahead
    nodes = trials * scheduler.nodes
    return (
        f"up to {nodes:,} nodes ({trials:,} trials of {scheduler.nodes:,}, {scheduler.lookahead:,} of them in reserve) "
        f"for {format_duration(seconds)}: at most {nodes * seconds / 3600:,.1f} node-hours; one trial runs first"
    )
