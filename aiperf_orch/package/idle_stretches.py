"""Remark on the longest time in which no trial was at work, if it is a large part of the campaign."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.journal import Finished, Paused, Stopped
from aiperf_orch.util.units import format_duration, format_time

_SHARE: Final = 0.25
"""Share of the campaign's time ..."""
_SECONDS: Final = 600
"""... and duration of an idle stretch that is remarked on."""


def remark_idle_stretch(index: PackageIndex) -> None:
    """Remark on the longest idle stretch, from the first begin to the last end or the deadline."""
    work = sorted(_work(index))
    if not work:
        return
    start = latest = work[0][0]
    end = max(end for _, end in work)
    end = max([end, *(entry.time for entry in index.entries if isinstance(entry, Finished) and entry.by_deadline)])
    idle: list[tuple[float, datetime, datetime]] = []
    for begun, ended in [*work, (end, end)]:
        if begun > latest:
            idle.append(((begun - latest).total_seconds(), latest, begun))
        latest = max(latest, ended)
    idle.sort(reverse=True)
    total = (end - start).total_seconds()
    if not idle or idle[0][0] < max(_SECONDS, _SHARE * total):
        return
    seconds, since, until = idle[0]
    halts = [entry for entry in index.entries if isinstance(entry, Paused | Stopped) and since <= entry.time <= until]
    after = f"{format_duration(idle[1][0])}" if len(idle) > 1 else "0s"
    why = f"no trial was at work for {format_duration(seconds)} from {format_time(since)}, {seconds / total:.0%} of the"
    reason = f"the campaign was {halts[0].type} in it" if halts else "the journal states no pause in it"
    where = f"{MEMBERS.journal}:{halts[0].seq + 1}" if halts else str(MEMBERS.journal)
    index.faults.remark("campaign.idle", where, f"{why} campaign; the next longest such time is {after}, and {reason}")


def _work(index: PackageIndex) -> Iterator[tuple[datetime, datetime]]:
    """Begin and latest possible end of each run: an attempt that wrote no end may work until the journal ends it."""
    for records in index.trials:
        ends = {(end.attempt, end.run): end.time for end in records.ends}
        last_epochs = {(epoch.attempt, epoch.run): epoch.end for epoch in [*records.epochs, *records.uncounted]}
        for begin in records.begins:
            key = begin.attempt, begin.run
            known = ends.get(key) or index.ended.get((begin.trial, begin.attempt), (0, begin.time))[1]
            yield begin.time, max(begin.time, known, last_epochs.get(key, begin.time))
