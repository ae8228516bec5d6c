"""Slots of agents that runs of trials occupied, from their events."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from aiperf_orch.records.events import Begin
from aiperf_orch.results.agent_presence import Presence, microseconds
from aiperf_orch.results.collected_trials import Collected, TrialRecords


@dataclass(frozen=True, slots=True)
class PlacedRun:
    """One run of an attempt on an agent. Times are microseconds since 1970, by its node's clock.

    Attributes:
        begin: its begin line.
        started: start of its process.
        begun: time of the begin line.
        work_end: the end of its last epoch that counts, or of its own end line.
        revoked: time at which the controller reclaimed the attempt from it; None where it wrote its own end line, or
            another run followed.
    """

    begin: Begin
    started: int
    begun: int
    work_end: int
    revoked: int | None


def placed_runs(records: TrialRecords) -> Iterator[PlacedRun]:
    """The runs of a trial that name the agent on which they ran, in the order of their records."""
    begun_runs = {(begin.attempt, begin.run) for begin in records.begins}
    ends = {(end.attempt, end.run): end.time for end in records.ends}
    last_epochs = {(epoch.attempt, epoch.run): epoch.end for epoch in records.epochs}
    for begin in records.begins:
        if begin.agent is None:
            continue
        key, ahead = (begin.attempt, begin.run), round(begin.set_ahead * 1e6)
        own_end, begun = ends.get(key), microseconds(begin.time) - ahead
        work_end = microseconds(max(filter(None, (begin.time, last_epochs.get(key), own_end)))) - ahead
        after = (begin.attempt, begin.run + 1)
        revoked = ends.get(after) if own_end is None and after not in begun_runs else None
        yield PlacedRun(
            begin=begin,
            started=begun if begin.started is None else min(microseconds(begin.started), begun),
            begun=begun,
            work_end=work_end,
            revoked=None if revoked is None else microseconds(revoked),
        )


@dataclass(frozen=True, slots=True)
class Occupation:
    """Slots of one agent that one run occupied. Times are microseconds since 1970, within the agent's presence.

    Attributes:
        presence: the presence of the agent.
        slots: number of slots; all of the agent for a trial on several nodes.
        started: start of the trial's process.
        begin: time of the begin line.
        work_end: end of its work.
        end: the time at which its end was recorded; later than `work_end` only where the trial died.
    """

    presence: Presence
    slots: int
    started: int
    begin: int
    work_end: int
    end: int


def occupations_of(collected: Collected, presences: Iterable[Presence]) -> Iterator[Occupation]:
    """The slots that the runs of all trials occupied.

    A run on an agent that was not present, or on a slot that the agent does not have, is left out; of two runs on one
    slot at the same time, the later one counts from the end of the earlier one.
    """
    by_agent: defaultdict[str, list[Presence]] = defaultdict(list)
    by_host: defaultdict[tuple[str, str], list[Presence]] = defaultdict(list)
    for each in presences:
        by_agent[each.agent].append(each)
        by_host[each.host, each.job].append(each)
    lanes: defaultdict[tuple[Presence, int | None], list[Occupation]] = defaultdict(list)
    for run in (run for records in collected.trials for run in placed_runs(records)):
        begin, several = run.begin, len(run.begin.hosts) > 1
        first = _present(by_agent[begin.agent or ""], run.started)
        others = (by_host[host, begin.job] for host in dict.fromkeys(begin.hosts[1:]))
        for presence in (first, *(_present(other, run.begun) for other in others)):
            slot = None if several else begin.slot
            if presence is not None and (several or (slot is not None and slot < presence.slots)):
                lanes[presence, slot].append(_occupation(run, presence, several=several))
    for lane in lanes.values():
        yield from _one_after_another(lane)


def _present(presences: Sequence[Presence], time: int) -> Presence | None:
    """The latest of ordered presences that had begun at a time, else the first one; None without any."""
    begun = bisect_right(presences, time, key=attrgetter("begin"))
    return presences[max(begun - 1, 0)] if presences else None


def _occupation(run: PlacedRun, presence: Presence, *, several: bool) -> Occupation:
    def within(time: int) -> int:
        return min(max(time, presence.begin), presence.end)

    work_end = within(run.work_end)
    return Occupation(
        presence=presence,
        slots=presence.slots if several else 1,
        started=within(run.started),
        begin=within(run.begun),
        work_end=work_end,
        end=work_end if run.revoked is None else max(within(run.revoked), work_end),
    )


def _one_after_another(lane: list[Occupation]) -> Iterator[Occupation]:
    """The occupations of one slot in order, each from the end of the one before it."""
    lane.sort(key=attrgetter("started", "end"))
    free = lane[0].started
    for each, after in zip(lane, [*lane[1:], None], strict=False):
        started, begin, work_end = (max(time, free) for time in (each.started, each.begin, each.work_end))
        end = each.end if after is None else min(each.end, after.started)
        free = max(end, work_end)
        yield replace(each, started=started, begin=begin, work_end=work_end, end=free)
