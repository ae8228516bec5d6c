"""Whether nodes of a site can be drained, by its settings."""

from __future__ import annotations

from aiperf_orch.settings.schedulers import LocalSettings, PbsSettings, SchedulerSettings


def why_not_drainable(settings: SchedulerSettings) -> str | None:
    """Why trials of a campaign cannot be kept off a node; None where they can.

    Args:
        settings: the section `scheduler` of the settings.
    """
    match settings:
        case LocalSettings():
            return (
                "a local campaign has this machine alone, which cannot be drained: `aiperf-orch stop` ends its trials"
            )
        case PbsSettings(allocations=None):
            return (
                "nodes cannot be drained where each trial is a job of PBS, which has no list of excluded nodes for a "
                "job: only in a campaign with scheduler.allocations; ask the administrators to set the node offline"
            )
        case _:
            return None
