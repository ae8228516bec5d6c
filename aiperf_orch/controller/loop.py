"""The controller's loop: one step after another, until the campaign is over or the user ends it."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiperf_orch.campaign.state import Phase
from aiperf_orch.controller.controller import Controller

_LONGEST_WAIT = 0.1
"""Seconds after which the user's wish to stop or leave is checked again."""


def run(
    controller: Controller,
    *,
    observe: Callable[[], None],
    stop_wanted: Callable[[], bool],
    leave_wanted: Callable[[], bool],
) -> Phase:
    """Step until nothing is left to do.

    Args:
        controller: Controller of the campaign.
        observe: Called after each step, to show the state of the campaign.
        stop_wanted: Once it returns true, live attempts are cancelled and the campaign stops.
        leave_wanted: Once it returns true, the loop ends after one more step, and jobs run on.

    Returns:
        The phase of the campaign; RUNNING only where the loop was left.
    """
    interval = min(controller.settings.scheduler.poll_interval, _LONGEST_WAIT)
    while True:
        phase = controller.step(stop=stop_wanted())
        observe()
        if leave_wanted() or (phase is not Phase.RUNNING and not controller.busy):
            return phase
        wait_until = time.monotonic() + controller.seconds_to_next_step
        was_stopping = stop_wanted()
        while time.monotonic() < wait_until and not leave_wanted() and stop_wanted() == was_stopping:
            if controller.wait(interval):
                break
