"""`status --watch`: the live view of a campaign that another process controls. Nothing is changed."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.lock import read_holder
from aiperf_orch.campaign.snapshot import read_further, read_snapshot
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.commands.command_output import CommandOutput
from aiperf_orch.commands.live_view import display
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.status import show_status
from aiperf_orch.controller.attempt_monitor import LiveAttempt, monitor_attempt
from aiperf_orch.schedulers.base import JobState
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings
from aiperf_orch.settings.schedulers import ClusterSettings
from aiperf_orch.util.errors import SchedulerUnreachableError, TransientError

_INTERVAL: Final = 2.0  # seconds between two readings
_QUERY_INTERVAL: Final = 60.0
_REDRAW_INTERVAL: Final = 0.1


class WatchedCampaign:
    """A campaign as its files show it, with what the live view reads of a controller.

    Attributes:
        directory: The campaign.
        live_attempts: Its attempts that have not ended.
    """

    def __init__(self, directory: CampaignDirectory) -> None:
        """Read the journal.

        Raises:
            RecordError: When it is damaged.
        """
        self.directory = directory
        self.live_attempts: dict[AttemptKey, LiveAttempt] = {}
        self._snapshot = read_snapshot(directory)
        self._settings = self.state.settings(directory.config.settings)
        self._changes = len(self.state.settings_changes)
        self._next_query = 0.0

    @property
    def state(self) -> CampaignState:
        """Its state by the journal."""
        return self._snapshot.state

    @property
    def settings(self) -> SiteSettings:
        """Its settings in force."""
        if self._changes != len(self.state.settings_changes):
            self._changes = len(self.state.settings_changes)
            self._settings = self.state.settings(self.directory.config.settings)
        return self._settings

    @property
    def deadline(self) -> datetime | None:
        """Its end; None before the first begin of any trial."""
        return self.state.deadline(self.settings.campaign.duration)

    @property
    def is_over(self) -> bool:
        """Whether nothing runs, and no controller goes on without a user."""
        return self.state.phase in (Phase.FINISHED, Phase.STOPPED) and not self.live_attempts

    def read_on(self) -> None:
        """Read what was added to the journal, and to the events that are due.

        Raises:
            RecordError: When the journal is damaged.
            TransientError: When it cannot be read for now.
        """
        self._snapshot = read_further(self.directory, self._snapshot)
        live = self.state.live
        for key in self.live_attempts.keys() - live.keys():
            del self.live_attempts[key]
        for key in live.keys() - self.live_attempts.keys():
            self.live_attempts[key] = monitor_attempt(self.directory, live[key], self.state.trials[key.trial])
        for attempt in self.live_attempts.values():
            attempt.poll(self.directory)

    def query_queue(self) -> None:
        """Query the queue once a minute for what it says of live attempts, or of the allocations of their agents.

        Raises:
            SchedulerUnreachableError: When the scheduler does not answer.
        """
        scheduler = self.settings.scheduler
        placed = placement_settings(scheduler, self.settings.campaign.concurrency) is not None
        allocations = self.state.workforce.live_allocations
        names = [each.name for each in (allocations if placed else self.live_attempts.values())]
        if not names or not isinstance(scheduler, ClusterSettings) or time.monotonic() < self._next_query:
            return
        self._next_query = time.monotonic() + _QUERY_INTERVAL
        found = make_scheduler(scheduler).query(names)
        for allocation in allocations:
            status = found.get(allocation.name)
            allocation.note = status.detail if status and status.state is JobState.PENDING else ""
        for attempt in () if placed else self.live_attempts.values():
            status = found.get(attempt.name)
            attempt.note = status.detail if status else ""


def watch_campaign(campaign_dir: Path) -> CommandOutput:
    """Show the live view of a campaign until it is over, then its state.

    Raises:
        UsageError: When there is no campaign.
        RecordError: When its journal is damaged.
    """
    watched = WatchedCampaign(CampaignDirectory.open(campaign_dir))
    path = watched.directory.path
    resume = command_line(["run", "--campaign-dir", str(path)])
    with display() as view:
        while not watched.is_over:
            try:
                watched.read_on()
                watched.query_queue()
            except (TransientError, SchedulerUnreachableError) as error:
                view.warn(str(error))
            view.show(watched)
            holder = read_holder(watched.directory.lock)
            if not watched.is_over and (holder is None or holder.alive() is False):
                view.warn(f"{path}: no controller runs at present; unless cron runs its steps, go on: {resume}")
            redraw_until = time.monotonic() + _INTERVAL
            while not watched.is_over and time.monotonic() < redraw_until:
                time.sleep(_REDRAW_INTERVAL)
                view.adapt()
    return show_status(campaign_dir, "table")
