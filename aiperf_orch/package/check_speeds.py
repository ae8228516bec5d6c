"""Check that the trials of a node together are not faster than its accelerators, where the settings state their peak.

Of each busy time of a node, in which epochs follow one another without a gap, the operations of all epochs are compared
with what the node could compute meanwhile. A speed of single moments is not known: a trial that shares an accelerator
for a part of an epoch is faster in the rest of it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.clock_tolerance import clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Epoch
from aiperf_orch.util.units import format_ops


@dataclass(frozen=True, slots=True)
class _Work:
    """An epoch in the time of its node's clock, in seconds, and the permitted difference of clocks."""

    epoch: Epoch
    start: float
    end: float
    tolerance: float


def check_speeds(index: PackageIndex) -> None:
    """Check the trials of one node each; those of several nodes are part of the system's speed only."""
    system = index.directory.settings.system
    if system.accelerator_peak_ops is None or system.accelerators_per_node is None:
        return
    peak = system.accelerator_peak_ops * system.accelerators_per_node
    by_host: defaultdict[str, list[_Work]] = defaultdict(list)
    for records in index.trials:
        begins = {(begin.attempt, begin.run): begin for begin in records.begins}
        for epoch in records.epochs:
            begin = begins[epoch.attempt, epoch.run]
            if len(begin.hosts) == 1:
                start, end = (time.timestamp() - begin.set_ahead for time in (epoch.start, epoch.end))
                work = _Work(epoch, start, end, clock_tolerance([begin]).total_seconds())
                by_host[begin.hosts[0]].append(work)
    for host, done in by_host.items():
        done.sort(key=attrgetter("start"))
        _check_host(index, host, done, peak)


def _check_host(index: PackageIndex, host: str, work: list[_Work], peak: float) -> None:
    """Check each busy time of a node."""
    first, end, ops, tolerance = 0, work[0].start, 0, 0.0
    for number, each in enumerate([*work, None]):
        if each is None or each.start > end:
            seconds = end - work[first].start
            if ops > peak * (seconds + 2 * tolerance):
                speed = f"{format_ops(ops / max(seconds, 0.001))}, and the peak of a node is {format_ops(peak)}"
                epoch = work[first].epoch
                where = str(MEMBERS.events(epoch.trial, epoch.attempt, epoch.run))
                why = f"from epoch {epoch.epoch} on, the {number - first} epochs on {host} together have {speed}"
                index.faults.add("speed.node", where, why)
            first, ops, tolerance = number, 0, 0.0
        if each is not None:
            end, ops, tolerance = max(end, each.end), ops + each.epoch.ops, max(tolerance, each.tolerance)
