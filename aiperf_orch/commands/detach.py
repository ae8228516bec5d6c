"""Start of a campaign's controller in the background, where it survives the user's logout."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.snapshot import read_state
from aiperf_orch.campaign.state import Phase
from aiperf_orch.settings.schedulers import AgentsSettings
from aiperf_orch.util.errors import AiperfError

_START_TIMEOUT: Final = 60.0  # seconds
_TAIL_BYTES: Final = 2000


def detach(directory: CampaignDirectory, command: Sequence[str]) -> int:
    """Start a command that runs the campaign, in a session of its own, and wait until it has submitted a job.

    A campaign that waits for agents submits none: then it waits until the controller has begun.

    Args:
        directory: The campaign.
        command: Arguments of aiperf-orch.

    Returns:
        The process id of the controller.

    Raises:
        AiperfError: when it ends at once, with the last lines of its log.
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
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        holder = read_holder(directory.lock)
        if holder and holder.pid == process.pid and _has_started(directory):
            break
        time.sleep(0.1)
    if process.returncode:
        raise AiperfError(f"the controller ended at once:\n{_tail(log, before) or 'without a message'}")
    return process.pid


def _has_started(directory: CampaignDirectory) -> bool:
    """Whether the scheduler has a job of the campaign, or the campaign submits none, or not before an agent begins."""
    state = read_state(directory)
    if state.phase is not Phase.RUNNING or isinstance(directory.settings.scheduler, AgentsSettings):
        return True
    jobs = [attempt.job for attempt in state.live.values()]
    return any([*jobs, *(allocation.job for allocation in state.workforce.live_allocations)])


def _tail(log: Path, start: int) -> str:
    """The last part of the log after byte `start`."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
