"""The file of metrics in the campaign directory, replaced each minute by the controller."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from aiperf_orch.campaign.durable_files import replace_file
from aiperf_orch.commands.metrics import metrics_text
from aiperf_orch.controller.progress import FollowedCampaign

_INTERVAL: Final = 60.0
"""Seconds between two writes: monitoring rarely asks more often."""


class MetricsFile:
    """Writes a campaign's metrics. A file that cannot be written costs a warning, and never the campaign."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Keep the receiver of warnings.

        Args:
            warn: Receives one message for each series of writes that failed.
        """
        self._warn = warn
        self._next_write = time.monotonic()
        self._failed = False

    def update(self, campaign: FollowedCampaign) -> None:
        """Write the file if a minute has passed since the last write."""
        if time.monotonic() >= self._next_write:
            self.write(campaign)

    def write(self, campaign: FollowedCampaign) -> None:
        """Replace the file at once; readers see the former or the new one."""
        self._next_write = time.monotonic() + _INTERVAL
        try:
            replace_file(campaign.directory.metrics, metrics_text(campaign).encode(), retry_for=0.0)
            self._failed = False
        except Exception as error:  # of any type: monitoring never ends a campaign
            if not self._failed:
                self._warn(f"metrics are not written for now: {error}")
            self._failed = True
