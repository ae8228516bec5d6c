"""What an agent says of itself, on the terminal of its user or in the log of its allocation."""

from __future__ import annotations

import signal
from datetime import datetime

from aiperf_orch.agent.joining import Membership
from aiperf_orch.records.agents import AgentEnd
from aiperf_orch.util.units import count, format_duration, now


def joined(membership: Membership) -> str:
    """Say which campaign an agent has joined, what it offers, and when its allocation ends."""
    begin, slots = membership.begin, membership.slots
    sizes = [count(len(slots[0].cores), "core")]
    if slots[0].gpus:
        sizes.append(count(len(slots[0].gpus), "GPU"))
    allocation = f"; its allocation ends at {_end(begin.ends_at)}" if begin.ends_at else ""
    offer = f"{count(len(slots), 'slot')} of {' and '.join(sizes)}"
    return f"joined {membership.directory.path} as {begin.agent}: {offer}{allocation}"


def ended(agent: str, end: AgentEnd, trials: int) -> str:
    """Say why an agent has ended, and how many trials it started."""
    why = ": ".join(filter(None, [end.reason, end.message]))
    return f"agent {agent} has ended ({why}); it ran {count(trials, 'trial')}"


def terminating(number: int, running: int, grace: float) -> str:
    """Say what the first signal to end an agent does, and what a second one would do.

    Args:
        number: The signal.
        running: Number of trials that run.
        grace: Seconds that they have to end.
    """
    name = signal.Signals(number).name
    if not running:
        return f"{name}: the agent ends"
    again = "Ctrl-C again" if number == signal.SIGINT else f"{name} again"
    ending = f"{count(running, 'trial')} may save {'its' if running == 1 else 'their'} state and end"
    return f"{name}: {ending}, for at most {format_duration(grace)}; {again} kills at once"


def _end(time: datetime) -> str:
    left = format_duration(max((time - now()).total_seconds(), 0.0))
    return f"{time:%Y-%m-%dT%H:%M:%SZ}, in {left}"
