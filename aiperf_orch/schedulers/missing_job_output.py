"""Likely reason why a job ended and its script wrote no output, not even an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings

_SUFFICIENT_REASONS = frozenset(
    {EndReason.CANCELLED, EndReason.PREEMPTED, EndReason.NODE_FAILURE, EndReason.TIME_LIMIT}
)
"""End reasons that explain missing output by themselves."""


def missing_output_reason(settings: SchedulerSettings, end: JobEnd | None, logs: Sequence[Path]) -> str:
    """Return the likely reason why a job left no output; empty where it left some, or where its end explains it.

    Args:
        settings: the scheduler's; a local job sees the same files as this process.
        end: the job's end as the scheduler knows it; None where it is not known.
        logs: the files that its output would be in, in the job's folder.
    """
    if not isinstance(settings, ClusterSettings) or (end is not None and end.reason in _SUFFICIENT_REASONS):
        return ""
    if any(map(file_exists, logs)):
        return ""
    return (
        f"its script wrote no output at all: most likely its node does not see {logs[0].parent}, which then is on no "
        "file system that login and compute nodes share, is not mounted there (a home directory, perhaps), or cannot "
        "be written there"
    )
