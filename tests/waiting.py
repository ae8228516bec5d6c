"""Waiting for an event: polls until it has come, and names it when it does not come in time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(condition: Callable[[], T], event: str, *, seconds: float = 60, interval: float = 0.05) -> T:
    """Poll a condition until it is true; returns its value.

    Args:
        condition: Called again and again.
        event: What the condition stands for, for the message of a failure.
        seconds: Time to wait at most.
        interval: Seconds between two calls.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"did not happen within {seconds:g} s: {event}"
        time.sleep(interval)
    return value
