"""run(): step in a loop, until the campaign is over or the user ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller


def run(
    controller: Controller,
    *,
    observe: Callable[[], None],
    stop_wanted: Callable[[], bool],
    leave_wanted: Callable[[], bool],
) -> Phase:
    """Step until nothing is left to do.

    Args:
        controller: of the campaign.
        observe: called after each step, to show how it stands.
        stop_wanted: once true, running trials are ended and the campaign stops.
        leave_wanted: once true, the loop is left at once, and what runs runs on.

    Returns:
        The campaign's phase; RUNNING only when the loop was left.
    """
    interval = controller.settings.scheduler.poll_interval
    while True:
        phase = controller.step(stop=stop_wanted())
        observe()
        if leave_wanted() or (phase is not Phase.RUNNING and not controller.busy):
            return phase
        wait_until = time.monotonic() + controller.pause
        was_stopping = stop_wanted()
        while time.monotonic() < wait_until and not leave_wanted() and stop_wanted() == was_stopping:
            if controller.wait(min(interval, 0.1)):
                break
