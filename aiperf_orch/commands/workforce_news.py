"""Messages about allocations and agents that came or went since the last look: one line a wave, not one a node."""

from __future__ import annotations

import logging
import math
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Final

from aiperf_orch.campaign.workforce import AllocationState, Workforce
from aiperf_orch.records.workforce import AgentLeave
from aiperf_orch.util.units import count

_log: Final = logging.getLogger(__name__)
_PAUSE: Final = 10.0
"""Seconds between two messages of a kind; agents that come or go in the meantime are in the next one."""
_MAX_NAMES: Final = 3
_MAX_MESSAGE: Final = 200  # characters
_EXPECTED: Final = ("dismissed", "time limit")
"""Reasons for which agents leave in the normal course of a campaign."""
_DEPARTURES: Final = {"lost": "lost", "killed": "killed", "failed": "failed"}


class WorkforceNews:
    """Logs what is new of allocations and agents; the first call finds nothing new."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Begin without a look; `clock` counts seconds."""
        self._clock = clock
        self._submitted: set[str] | None = None
        self._ended: set[str] = set()
        self._joined: set[str] = set()
        self._left: set[str] = set()
        self._next: dict[str, float] = {}
        self._least = logging.INFO

    def show(self, workforce: Workforce, *, only_warnings: bool) -> None:
        """Log the news since the last call.

        Args:
            workforce: Allocations and agents of the campaign.
            only_warnings: Log only what is out of the ordinary.
        """
        self._least = logging.WARNING if only_warnings else logging.INFO
        if self._submitted is None:
            self._submitted = {each.name for each in workforce.allocations.values() if each.job}
            self._ended = {each.name for each in workforce.allocations.values() if each.end}
            self._joined = set(workforce.agents)
            self._left = {name for name, agent in workforce.agents.items() if agent.left}
            return
        for allocation in workforce.allocations.values():
            self._show_allocation(allocation, self._submitted)
        self._show_joined([name for name in workforce.agents if name not in self._joined], workforce)
        self._show_left([agent.left for agent in workforce.agents.values() if agent.left])

    def _show_allocation(self, allocation: AllocationState, submitted: set[str]) -> None:
        if allocation.job and allocation.name not in submitted:
            submitted.add(allocation.name)
            nodes = count(allocation.nodes, "node")
            self._say(logging.INFO, "allocation %s submitted as job %s: %s", allocation.name, allocation.job, nodes)
        if allocation.end and allocation.name not in self._ended:
            self._ended.add(allocation.name)
            why = ": ".join(filter(None, [allocation.end.reason, allocation.end.message]))
            self._say(logging.INFO, "allocation %s ended: %s", allocation.name, _shortened(why))

    def _show_joined(self, names: Sequence[str], workforce: Workforce) -> None:
        if names and self._is_due("joined"):
            self._joined.update(names)
            agents = [workforce.agents[name].record for name in names]
            slots = count(sum(agent.slots for agent in agents), "slot")
            self._say(logging.INFO, "%s joined: %s; %s", count(len(names), "agent"), _listed(names), slots)

    def _show_left(self, leaves: Iterable[AgentLeave]) -> None:
        by_reason: defaultdict[str, list[AgentLeave]] = defaultdict(list)
        for leave in leaves:
            if leave.agent not in self._left:
                by_reason[leave.reason].append(leave)
        for reason, gone in by_reason.items():
            if self._is_due(reason):
                names = [leave.agent for leave in gone]
                self._left.update(names)
                what = f"{count(len(gone), 'agent')} {_DEPARTURES.get(reason, f'ended ({reason})')}: {_listed(names)}"
                message = next((leave.message for leave in gone if leave.message), "")
                level = logging.INFO if reason in _EXPECTED else logging.WARNING
                self._say(level, "%s", "; ".join(filter(None, [what, _shortened(message)])))

    def _say(self, level: int, message: str, *values: object) -> None:
        if level >= self._least:
            _log.log(level, message, *values)

    def _is_due(self, kind: str) -> bool:
        """Whether the last message of this kind was long enough ago; then the next one is due after the pause."""
        time = self._clock()
        if time < self._next.get(kind, -math.inf):
            return False
        self._next[kind] = time + _PAUSE
        return True


def _listed(names: Sequence[str]) -> str:
    """The first names, and the number of the others: `n1.1, n2.1, n3.1 and 181 more`."""
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _shortened(text: str) -> str:
    return textwrap.shorten(text, _MAX_MESSAGE, placeholder=" …")
