"""Mean number of trials at work on a node during an epoch; trials that share a node slow one another down."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.results.collected_trials import TrialRecords


class NodeCompany:
    """The epochs that each node worked on; an epoch on several nodes counts on each of them."""

    def __init__(self, trials: Sequence[TrialRecords]) -> None:
        """Remember the trials: most campaigns need no answer, and the epochs are grouped by nodes for the first one."""
        self._trials = trials
        self._by_host: defaultdict[str, list[Epoch]] | None = None
        self._work: dict[str, _Work] = {}

    def mean(self, begin: Begin, epoch: Epoch) -> float:
        """Mean number of epochs at work on the first node of a run during one of its epochs, itself included."""
        host = begin.hosts[0] if begin.hosts else ""
        if self._by_host is None:
            self._by_host = self._epochs_by_host()
        if host not in self._work:
            self._work[host] = _Work(self._by_host[host])
        return self._work[host].mean(epoch)

    def _epochs_by_host(self) -> defaultdict[str, list[Epoch]]:
        found: defaultdict[str, list[Epoch]] = defaultdict(list)
        for records in self._trials:
            begins = {(begin.attempt, begin.run): begin for begin in records.begins}
            for epoch in records.epochs:
                for host in begins[epoch.attempt, epoch.run].hosts or [""]:
                    found[host].append(epoch)
        return found


class _Work:
    """Sum over epochs of the seconds that each has worked up to any time."""

    def __init__(self, epochs: Sequence[Epoch]) -> None:
        self._origin = min(epoch.start for epoch in epochs)
        self._starts = sorted((epoch.start - self._origin).total_seconds() for epoch in epochs)
        self._ends = sorted((epoch.end - self._origin).total_seconds() for epoch in epochs)
        self._sums_of_starts = list(accumulate(self._starts, initial=0.0))
        self._sums_of_ends = list(accumulate(self._ends, initial=0.0))

    def mean(self, epoch: Epoch) -> float:
        """Mean number of epochs at work during one of them."""
        start, end = ((time - self._origin).total_seconds() for time in (epoch.start, epoch.end))
        return (self._until(end) - self._until(start)) / (end - start)

    def _until(self, time: float) -> float:
        started, ended = bisect_right(self._starts, time), bisect_right(self._ends, time)
        return started * time - self._sums_of_starts[started] - (ended * time - self._sums_of_ends[ended])
