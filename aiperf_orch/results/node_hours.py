"""Node-hours of a campaign whose trials are placed on agents: given, at work, and idle by cause.

A node is given while an agent is present on it; it counts once, however many agents share it. Trials take shares of a
node: with k of the node's s slots at work, k/s of it is at work. docs/guides/results.md describes every number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from typing import Final

from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.results.agent_presence import Presence, microseconds, presences_of
from aiperf_orch.results.collected_trials import Collected
from aiperf_orch.results.occupied_slots import Occupation, occupations_of
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import placement_settings

_HOUR: Final = 3_600_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class IdleNodeHours:
    """Node-hours without a trial at work, by cause.

    Attributes:
        start_up: from the start of a trial's process to its begin line.
        first_trial: before the first begin line of the campaign, which proves that the site works.
        no_trial: no trial was placed on the slot.
        beyond_concurrency: slots in excess of `campaign.concurrency`.
        after_end: after the campaign's deadline, or after its last trial.
        lost: slots whose trial or agent had died, until the journal recorded it.
    """

    start_up: float = 0.0
    first_trial: float = 0.0
    no_trial: float = 0.0
    beyond_concurrency: float = 0.0
    after_end: float = 0.0
    lost: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeHours:
    """Node-hours of a campaign: `given` is the sum of `at_work` and `idle`."""

    given: float
    at_work: float
    causes: IdleNodeHours

    @property
    def idle(self) -> float:
        """Node-hours without a trial at work."""
        return math.fsum(astuple(self.causes))

    def shares(self) -> list[tuple[str, float, float]]:
        """Name of each cause, its node-hours, and its share of those given."""
        named = ((cause.name, getattr(self.causes, cause.name)) for cause in fields(self.causes))
        return [(name, hours, hours / self.given if self.given else 0.0) for name, hours in named]


def node_hours_of(
    state: CampaignState,
    collected: Collected,
    settings: SiteSettings,
    concurrency: Sequence[tuple[datetime | None, int]],
) -> NodeHours | None:
    """Compute the node-hours of a campaign; None where each trial is a job of its own.

    Args:
        state: State of the campaign.
        collected: Its trials.
        settings: Settings in force.
        concurrency: `CampaignState.concurrency_history`.
    """
    placement = placement_settings(settings.scheduler, settings.campaign.concurrency)
    if placement is None:
        return None
    presences = presences_of(state, collected, placement.lost_after)
    occupations = list(occupations_of(collected, presences))
    first = math.inf if collected.start is None else microseconds(collected.start)
    end = first + round(settings.campaign.duration * 1e6)
    if state.phase in (Phase.FINISHED, Phase.STOPPED):
        end = min(end, max((each.end for each in occupations), default=math.inf))
    later: dict[float, int] = {microseconds(time): number for time, number in concurrency if time}
    sweep = _Sweep(first, end, concurrency[0][1])
    for time, host, change in _changes(presences, occupations, [first, end, *later]):
        sweep.advance(time)
        sweep.concurrency = later.get(time, sweep.concurrency)
        if host is not None:
            sweep.change(host, change)
    return sweep.result()


_Counts = tuple[int, int, int, int]
"""Numbers of slots of a node: all, starting a trial, with a trial at work, lost."""


def _changes(
    presences: Sequence[Presence], occupations: Sequence[Occupation], times: Sequence[float]
) -> Iterator[tuple[float, str | None, _Counts]]:
    """Time, node and change of its slots, in order; at `times` nothing changes."""
    changes: list[tuple[float, str | None, _Counts]] = [
        (time, None, (0, 0, 0, 0)) for time in times if math.isfinite(time)
    ]
    last_signs = {each: each.last_sign for each in presences}
    for one in occupations:
        last_signs[one.presence] = max(last_signs[one.presence], one.work_end)
    for each, last_sign in last_signs.items():
        changes.append((each.begin, each.host, (each.slots, 0, 0, 0)))
        changes.append((last_sign, each.host, (0, 0, 0, each.slots)))
        changes.append((each.end, each.host, (-each.slots, 0, 0, -each.slots)))
    for one in occupations:
        for begin, end, counts in (
            (one.started, one.begin, (0, one.slots, 0, 0)),
            (one.begin, one.work_end, (0, 0, one.slots, 0)),
            (one.work_end, min(one.end, last_signs[one.presence]), (0, 0, 0, one.slots)),
        ):
            if end > begin:
                _, starting, working, lost = counts
                changes.append((begin, one.presence.host, counts))
                changes.append((end, one.presence.host, (0, -starting, -working, -lost)))
    return iter(sorted(changes, key=lambda change: change[0]))


class _Sweep:
    """Sums over time. Nodes with equal numbers of slots are summed together, in whole microseconds of slots."""

    def __init__(self, first: float, end: float, concurrency: int) -> None:
        self._first, self._end, self.concurrency = first, end, concurrency
        self._time = -math.inf
        self._nodes: defaultdict[str, _Counts] = defaultdict(lambda: (0, 0, 0, 0))
        self._groups: dict[int, list[int]] = {}  # slots of a node -> nodes, and slots starting, at work, lost
        self._sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        self._beyond = 0.0
        self._by_time = {"first_trial": 0.0, "after_end": 0.0, "no_trial": 0.0}

    def advance(self, time: float) -> None:
        """Add the time from the latest change to this one."""
        elapsed = int(time - self._time) if self._groups else 0
        begin, self._time = self._time, time
        if not elapsed:
            return
        idle_slots = all_slots = 0
        idle_nodes = 0.0
        for slots, group in self._groups.items():
            sums = self._sums[slots]
            for index, number in enumerate(group):
                sums[index] += number * elapsed
            idle = group[0] * slots - group[1] - group[2] - group[3]
            all_slots += group[0] * slots
            idle_slots += idle
            idle_nodes += idle / slots
        if idle_slots:
            excess = min(max(all_slots - self.concurrency, 0), idle_slots) / idle_slots
            self._beyond += idle_nodes * excess * elapsed
            cause = "after_end" if begin >= self._end else "first_trial" if begin < self._first else "no_trial"
            self._by_time[cause] += idle_nodes * (1 - excess) * elapsed

    def change(self, host: str, change: _Counts) -> None:
        """Change the slots of a node."""
        before = self._nodes[host]
        slots, starting, working, lost = (old + new for old, new in zip(before, change, strict=True))
        self._nodes[host] = slots, starting, working, lost
        self._count(before, -1)
        self._count(self._nodes[host], 1)

    def _count(self, node: _Counts, number: int) -> None:
        slots, *others = node
        if not slots:
            return
        group = self._groups.setdefault(slots, [0, 0, 0, 0])
        group[0] += number
        for index, value in enumerate(others, start=1):
            group[index] += number * value
        if not group[0]:
            del self._groups[slots]

    def result(self) -> NodeHours:
        """The sums so far, in node-hours."""
        starting, working, lost = (
            math.fsum(sums[index] / slots for slots, sums in self._sums.items()) / _HOUR for index in (1, 2, 3)
        )
        causes = IdleNodeHours(
            start_up=starting,
            lost=lost,
            beyond_concurrency=self._beyond / _HOUR,
            **{cause: hours / _HOUR for cause, hours in self._by_time.items()},
        )
        return NodeHours(sum(sums[0] for sums in self._sums.values()) / _HOUR, working, causes)
