"""What it most likely means that a job ended and its script wrote no output, not even an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aiperf_orch.campaign.durable_files import file_exists
from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import JobEnd
from aiperf_orch.settings.schedulers import ClusterSettings, SchedulerSettings

_WHY_NOT = frozenset({EndReason.CANCELLED, EndReason.PREEMPTED, EndReason.NODE_FAILURE, EndReason.TIME_LIMIT})
"""Ends that explain a missing output by themselves."""


def missing_output_reason(settings: SchedulerSettings, end: JobEnd | None, logs: Sequence[Path]) -> str:
    """The likely reason why a job that ended left no output; empty where it left some, or its end explains that.

    Args:
        settings: of its scheduler; a process of this machine sees the same files.
        end: what the queue knows of its end.
        logs: the files that its output would be in, in the job's folder.
    """
    if not isinstance(settings, ClusterSettings) or (end is not None and end.reason in _WHY_NOT):
        return ""
    return "" if any(map(file_exists, logs)) else unseen(logs[0].parent)


def unseen(folder: Path) -> str:
    """Says that a node most likely does not see a folder, and why that may be."""
    return (
        f"its script wrote no output at all: most likely its node does not see {folder}, which then is on no file system "
        "that login and compute nodes share, is not mounted there (a home directory, perhaps), or cannot be written there"
    )
