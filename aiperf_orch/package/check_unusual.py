"""Remarks on measurements that are possible, and that honest campaigns hardly have.

Compared are the epochs of one network on the same nodes, with the same setup: times, power and trends of one network
do not depend on the other ones. Nodes are compared by the networks that ran on several of them. Each kind is one
remark, with how unlikely it is and where the most unlikely one is. Simulated campaigns are not examined: their times
follow from a model. Each kind is explained in docs/guides/committee.md.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.idle_stretches import remark_idle_stretch
from aiperf_orch.package.node_company import NodeCompany
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.results.collected_trials import TrialRecords

_FEWEST: Final = 5
"""Epochs of one series below which nothing is concluded from their spread."""
_FACTOR: Final = 2.0
"""An epoch is unusual if it is faster, or has more or less power, by this factor ..."""
_DEVIATIONS: Final = 6.0
"""... and by this number of robust standard deviations from the median of its series."""
_LEAST_SPREAD: Final = 0.02
"""Relative standard deviation that is assumed where the measured one is smaller."""
_SAME_COMPANY: Final = 0.25
"""Relative difference of the number of trials at work on a node up to which two epochs are compared."""
_VARIATION: Final = 0.001
"""Relative standard deviation of epoch times by which the probability of equal times is computed."""
_EQUAL_DIGITS: Final = 3.0
"""Digits of the probability of equal times in any series of the campaign."""
_FASTER_NODE: Final = 1.1
"""Factor by which each epoch on a node is faster than each one of the same network on other nodes."""
_NODE_DIGITS: Final = 2.0
"""Digits of the probability of a node that is faster in all comparisons, if all nodes are equal."""
_FEWEST_OF_TREND: Final = 9
"""Epochs of a series in which a trend is looked for: the medians of its first and of its last third are compared."""
_TREND: Final = 1.1
"""Factor by which the median series becomes faster."""
_TREND_DIGITS: Final = 6.0
"""Digits of the probability of that many faster series among series without a trend."""


@dataclass(frozen=True, slots=True)
class _Series:
    """Epochs of one trial on the same nodes with the same setup, in order, and the begin line of the first one."""

    begin: Begin
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def setup(self) -> tuple[object, ...]:
        """What its speed depends on, apart from its network and its nodes."""
        begin = self.begin
        return begin.device, begin.workers, begin.cores, begin.precision, begin.compiled, self.epochs[0].batch


@dataclass(frozen=True, slots=True)
class _Unusual:
    """One unusual epoch or series: how unusual it is, and the words for it."""

    measure: float
    epoch: Epoch
    words: str


def check_unusual(index: PackageIndex) -> None:
    """Add at most one remark of each kind."""
    if index.result.simulated:
        return
    company = NodeCompany(index.trials)
    fast, power, equal, trends, nodes = _Kind(), _Kind(), _Kind(), _Trends(), _Nodes()
    number = 0
    for records in index.trials:
        found = _series_of(records)
        number += len(found)
        for series in found:
            fast.take(_fast(series, company))
            power.take(_powerful(series, company))
            equal.take(_equal_times(series))
            trends.add(series)
        nodes.add(found)
    fast.remark(index, "epoch.fast")
    power.remark(index, "epoch.power")
    if equal.most is not None and equal.most.measure - math.log10(number) >= _EQUAL_DIGITS:
        equal.remark(index, "epoch.equal")
    trends.remark(index)
    nodes.remark(index)
    remark_idle_stretch(index)


def _series_of(records: TrialRecords) -> list[_Series]:
    """The series of a trial."""
    begins = {(begin.attempt, begin.run): begin for begin in records.begins}
    found: dict[tuple[object, ...], _Series] = {}
    for epoch in records.epochs:
        begin = begins[epoch.attempt, epoch.run]
        series = _Series(begin, [epoch])
        known = found.setdefault((tuple(begin.hosts), *series.setup), series)
        if known is not series:
            known.epochs.append(epoch)
    return list(found.values())


def _seconds(epoch: Epoch) -> float:
    return (epoch.end - epoch.start).total_seconds()


def _seconds_per_operation(epoch: Epoch) -> float | None:
    seconds = _seconds(epoch)
    return seconds / epoch.ops if seconds > 0 and epoch.ops else None


def _power(epoch: Epoch) -> float | None:
    if not epoch.energy:
        return None
    seconds = _seconds(epoch)
    return (epoch.energy / seconds or None) if seconds > 0 else None


@dataclass
class _Kind:
    """Unusual epochs or series of one kind: their number, and the most unusual one."""

    number: int = 0
    most: _Unusual | None = None

    def take(self, found: _Unusual | None) -> None:
        """Count one if there is one."""
        if found is not None:
            self.number += 1
            if self.most is None or found.measure > self.most.measure:
                self.most = found

    def remark(self, index: PackageIndex, kind: str) -> None:
        """Add the remark on the most unusual one, and the number of the others."""
        if self.most is not None:
            others = f"; and in {self.number - 1} more series of epochs" if self.number > 1 else ""
            _remark(index, kind, self.most.epoch, self.most.words + others)


def _remark(index: PackageIndex, kind: str, epoch: Epoch, words: str) -> None:
    where = str(MEMBERS.events(epoch.trial, epoch.attempt, epoch.run))
    index.faults.remark(kind, where, words)


def _fast(series: _Series, company: NodeCompany) -> _Unusual | None:
    """The epoch that is the most unusually fast one of its series."""
    found = _outlier(series, _seconds_per_operation, company, signs=(-1,))
    if found is None:
        return None
    distance, deviations, epoch = found
    words = f"epoch {epoch.epoch} is {_factor(-distance):.2g} times faster than the median epoch of its network"
    return _Unusual(deviations, epoch, f"{words} on the same nodes, {_deviations(deviations)}")


def _powerful(series: _Series, company: NodeCompany) -> _Unusual | None:
    """The epoch whose power is the most unusual one of its series."""
    of = series.epochs[0].energy_of
    found = _outlier(series, lambda epoch: _power(epoch) if epoch.energy_of == of else None, company, signs=(-1, 1))
    if found is None:
        return None
    distance, deviations, epoch = found
    words = f"epoch {epoch.epoch} has {_factor(distance):.2g} times the power of the median epoch of its network"
    return _Unusual(deviations, epoch, f"{words} on the same nodes, {_deviations(deviations)}")


def _factor(distance: float) -> float:
    """The factor of a difference of logarithms, which a package may make larger than any number."""
    return math.exp(min(distance, 700.0))


def _deviations(number: float) -> str:
    return f"{number:.0f} robust standard deviations away"


def _outlier(
    series: _Series, measure: Callable[[Epoch], float | None], company: NodeCompany, signs: Sequence[int]
) -> tuple[float, float, Epoch] | None:
    """The epoch that differs most from the median of its series.

    Args:
        series: the epochs.
        measure: a positive measure of an epoch; None where it has none.
        company: compares only epochs during which equally many trials were at work on their nodes.
        signs: of the distances that are unusual: 1 for large measures, -1 for small ones.

    Returns:
        The distance as a difference of natural logarithms, the same in robust standard deviations, and the epoch; None
        where no epoch is unusual.
    """
    measured = [(math.log(value), epoch) for epoch in series.epochs if (value := measure(epoch)) is not None]
    if len(measured) < _FEWEST:
        return None
    middle = median([value for value, _ in measured])
    spread = max(1.4826 * median([abs(value - middle) for value, _ in measured]), _LEAST_SPREAD)
    least = max(math.log(_FACTOR), _DEVIATIONS * spread)
    far = [
        (value - middle, abs(value - middle) / spread, epoch)
        for value, epoch in measured
        if abs(value - middle) >= least and math.copysign(1, value - middle) in signs
    ]
    if not far:
        return None
    beside = median([company.mean(series.begin, epoch) for _, epoch in measured])
    unusual = [each for each in far if abs(company.mean(series.begin, each[2]) - beside) <= _SAME_COMPANY * beside]
    return max(unusual, key=lambda each: each[1], default=None)


def _equal_times(series: _Series) -> _Unusual | None:
    """A series whose epochs all take the same time, to the millisecond; measured by the digits of its probability.

    With a standard deviation of s milliseconds, two rounded times are equal with a probability of 1 / (2 sqrt(pi) s).
    """
    epochs = series.epochs
    seconds = _seconds(epochs[0])
    deviation = 1000 * _VARIATION * seconds
    if len(epochs) < _FEWEST or deviation < 1 or any(_seconds(epoch) != seconds for epoch in epochs):
        return None
    digits = (len(epochs) - 1) * math.log10(2 * math.sqrt(math.pi) * deviation)
    why = f"all {len(epochs)} epochs of trial {epochs[0].trial} on these nodes take {seconds:.3f} s"
    return _Unusual(digits, epochs[0], f"{why}; if times varied by {_VARIATION:.1%}, by chance 1 in 10^{digits:.0f}")


@dataclass
class _Trends:
    """Factors by which series become faster from their first to their last third."""

    factors: list[float] = field(default_factory=list)
    most: tuple[float, Epoch] | None = None

    def add(self, series: _Series) -> None:
        """Count a series that is long enough."""
        values = [value for epoch in series.epochs if (value := _seconds_per_operation(epoch)) is not None]
        third = len(values) // 3
        if len(values) >= _FEWEST_OF_TREND:
            factor = median(values[:third]) / median(values[-third:])
            self.factors.append(factor)
            if self.most is None or factor > self.most[0]:
                self.most = factor, series.epochs[-1]

    def remark(self, index: PackageIndex) -> None:
        """Remark that most series become faster."""
        number, faster = len(self.factors), sum(factor > 1 for factor in self.factors)
        if self.most is None or median(self.factors) < _TREND:
            return
        digits = 2 * number * max(faster / number - 0.5, 0) ** 2 / math.log(10)  # Hoeffding's bound
        if digits >= _TREND_DIGITS:
            why = f"in {faster} of {number} series of epochs of one network on the same nodes the last third is faster"
            typical = f"than the first, by {median(self.factors) - 1:.0%} in the median series"
            _remark(index, "speed.growth", self.most[1], f"{why} {typical}; without a trend by chance {_odds(digits)}")


def _odds(digits: float) -> str:
    return f"1 in 10^{digits:.0f}" if digits >= 4 else f"1 in {10**digits:,.0f}"


@dataclass
class _Nodes:
    """Comparisons of nodes by networks that ran on several of them, with the same setup.

    Attributes:
        compared: nodes -> for each of these networks, the factor by which their slowest epoch there is faster than the
            fastest one elsewhere; less than 1 where it is slower.
        first: nodes -> an epoch there.
    """

    compared: defaultdict[tuple[str, ...], list[float]] = field(default_factory=lambda: defaultdict(list))
    first: dict[tuple[str, ...], Epoch] = field(default_factory=dict)

    def add(self, found: Sequence[_Series]) -> None:
        """Compare the series of one trial."""
        if len(found) < 2:
            return
        by_setup: defaultdict[tuple[object, ...], list[tuple[tuple[str, ...], list[float], Epoch]]] = defaultdict(list)
        for series in found:
            values = [value for epoch in series.epochs if (value := _seconds_per_operation(epoch)) is not None]
            if values:
                by_setup[series.setup].append((tuple(sorted(series.begin.hosts)), values, series.epochs[0]))
        for each in by_setup.values():
            fastest = sorted(min(values) for _, values, _ in each)
            for hosts, values, epoch in each if len(each) > 1 else ():
                elsewhere = fastest[1] if min(values) == fastest[0] else fastest[0]
                self.compared[hosts].append(elsewhere / max(values))
                self.first.setdefault(hosts, epoch)

    def remark(self, index: PackageIndex) -> None:
        """Remark on the node that is faster in every comparison, if that is not by chance."""
        for hosts, factors in sorted(self.compared.items(), key=lambda item: -len(item[1])):
            digits = len(factors) * math.log10(2) - math.log10(len(self.compared))
            if min(factors) >= _FASTER_NODE and digits >= _NODE_DIGITS:
                why = f"each epoch on {', '.join(hosts)} is faster, by {min(factors) - 1:.0%} or more, than all epochs"
                where = f"of the same {len(factors)} networks on other nodes"
                chances = f"if nodes were equal, by chance {_odds(digits)}"
                _remark(index, "node.fast", self.first[hosts], f"{why} {where}; {chances}")
                return
