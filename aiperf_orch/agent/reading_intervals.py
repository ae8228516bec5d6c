"""How often an agent opens its files. Decides only; reads nothing.

A file server bears a limited number of opens a second, and a campaign may have a thousand agents: one without a free
slot reads its orders seldom, and the controller's heartbeat matters only to one that has nothing to do. To look at the
size of the orders in place of opening them would not help: a network file system shows the present size of a file only
to a process that opens it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from aiperf_orch.settings.placement import PlacementSettings

_FREE_SLOT_SECONDS: Final = 1.0
_SELDOM_SECONDS: Final = 10.0  # within which an order to end an attempt is obeyed
_HEARTBEATS: Final = 4  # between two looks whether the directory is still that of the campaign


@dataclass(frozen=True, slots=True)
class ReadingIntervals:
    """Seconds between two openings of a file.

    Attributes:
        orders: Of the agent's orders.
        controller: Of the controller's heartbeat; infinite for never.
        heartbeat: Of the agent's own heartbeat.
        directory: Of the agent's log by its path, which shows whether the directory is still that of the campaign.
    """

    orders: float
    controller: float
    heartbeat: float
    directory: float


def reading_intervals(
    settings: PlacementSettings, poll_interval: float, *, has_room: bool, is_idle: bool
) -> ReadingIntervals:
    """The intervals of an agent in a state.

    Args:
        settings: How trials are placed.
        poll_interval: Seconds between two steps of the controller.
        has_room: Whether one more attempt could start at once.
        is_idle: Whether the agent has no attempt.
    """
    often = min(poll_interval, _FREE_SLOT_SECONDS)
    # an attempt that is ordered to end, and later to be killed, must have time in between
    seldom = max(often, min(2 * poll_interval, settings.stop_grace / 4, _SELDOM_SECONDS))
    return ReadingIntervals(
        orders=often if has_room else seldom,
        controller=settings.controller_interval if is_idle else math.inf,
        heartbeat=settings.heartbeat_interval,
        directory=_HEARTBEATS * settings.heartbeat_interval,
    )
