"""Runs a campaign's controller in the background, so that it survives the person's logout."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.consistency import read_state
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.state import Phase
from aiperf_orch.util.errors import AiperfError

_PATIENCE: Final = 60.0  # seconds
_TAIL: Final = 2000  # bytes


def detach(directory: CampaignDirectory, command: Sequence[str]) -> int:
    """Start a command that takes the campaign up, in a session of its own, and wait until it has submitted something.

    Args:
        directory: the campaign.
        command: arguments of aiperf-orch.

    Returns:
        The controller's process id.

    Raises:
        AiperfError: when it ends at once, with the end of what it said.
    """
    log = directory.controller_log
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aiperf_orch.cli", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    patience = time.monotonic() + _PATIENCE
    while time.monotonic() < patience and process.poll() is None:
        holder = read_holder(directory.lock)
        if holder and holder.pid == process.pid and _under_way(directory):
            break
        time.sleep(0.1)
    if process.returncode:
        raise AiperfError(f"the controller ended at once:\n{_end_of(log, before) or 'it said nothing'}")
    return process.pid


def _under_way(directory: CampaignDirectory) -> bool:
    """Whether the scheduler has a job, or the campaign wants none."""
    state = read_state(directory)
    return state.phase is not Phase.RUNNING or any(attempt.job for attempt in state.live.values())


def _end_of(log: Path, start: int) -> str:
    """What the log says from `start` on, its last part."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL))
        return file.read().decode(errors="replace").strip()
