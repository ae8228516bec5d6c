"""Speed of each node relative to the others, and the nodes that are slow.

The speed of a trial is the number of images that it trained and validated, divided by the time of its epochs that
count. The trend of its logarithm over that of the operations for an image is taken out (least squares, among trials of
the same number of workers). What remains is compared with the median of the trials on other nodes whose networks need
the most similar number of operations: an eighth of all, 5 to 16; of the same batch size where 128 trials have it. The
relative speed of a node is the median of those of its trials.

A node is slow if its relative speed is below 0.95, and if a median as low has a chance of less than 1 in 100 in a whole
campaign on equal nodes. The spread is 1.4826 x the median absolute deviation of all trials from the medians of their
nodes, the standard error of a median of n trials 1.2533 x spread x sqrt(1/n + 1/16), and at least three trials are
needed. False alarms are counted in docs/guides/results.md.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import NormalDist, median
from typing import TYPE_CHECKING, Final, NamedTuple

from aiperf_orch.campaign.failure_policy import is_failure

if TYPE_CHECKING:
    from aiperf_orch.results.collected_trials import TrialRecords
    from aiperf_orch.results.result import Result

_COMPARED: Final = 16
_FEWEST_COMPARED: Final = 5
_SHARE: Final = 8
_FARTHEST: Final = 400  # places in the order of operations, which bounds the time where one node has most trials
_ENOUGH: Final = _SHARE * _COMPARED
_FEWEST_TRIALS: Final = 3
_SLOW: Final = 0.95
_CHANCE: Final = 0.01
_MAD_TO_DEVIATION: Final = 1.4826
_ERROR_OF_MEDIAN: Final = 1.2533


@dataclass(frozen=True, slots=True)
class NodeSpeed:
    """What the trials of a node reached.

    Attributes:
        node: Its name.
        trials: Number of trials with an epoch that counts there.
        epochs: Number of these epochs.
        images_per_second: Median over its trials; None without an epoch that takes time.
        relative_speed: Median of its trials' speeds relative to similar trials on other nodes; None where there are too
            few of these.
        failures: Number of attempts that failed after they had begun there.
        is_slow: Whether it is slow by the rule above.
    """

    node: str
    trials: int
    epochs: int
    images_per_second: float | None
    relative_speed: float | None
    failures: int
    is_slow: bool


class TrialSpeed(NamedTuple):
    """Speed of a trial on the nodes of a run: images per second, and what it depends on."""

    nodes: tuple[str, ...]
    speed: float
    operations: int
    batch: int
    workers: int


def node_speeds(result: Result) -> list[NodeSpeed]:
    """The speeds of all nodes on which a trial began, sorted by their names."""
    speeds: list[TrialSpeed] = []
    epochs: Counter[str] = Counter()
    for records in result.collected.trials:
        for measured, number in _speeds_of(records):
            speeds.append(measured)
            epochs.update(dict.fromkeys(measured.nodes, number))
    relative = relative_speeds(speeds)
    slow = slow_nodes(relative)
    of_node: defaultdict[str, list[float]] = defaultdict(list)
    for measured in speeds:
        for node in measured.nodes:
            of_node[node].append(measured.speed)
    failures = _failures(result)
    names = {host for records in result.collected.trials for begin in records.begins for host in begin.hosts}
    return [
        NodeSpeed(
            node,
            len(of_node[node]),
            epochs[node],
            median(of_node[node]) if of_node[node] else None,
            math.exp(median(relative[node])) if node in relative else None,
            failures[node],
            node in slow,
        )
        for node in sorted(names)
    ]


def _speeds_of(records: TrialRecords) -> Iterator[tuple[TrialSpeed, int]]:
    """Speed of a trial on each set of nodes, and the number of its epochs there."""
    begins = {(begin.attempt, begin.run): begin for begin in records.begins}
    images: Counter[tuple[str, ...]] = Counter()
    seconds: defaultdict[tuple[str, ...], float] = defaultdict(float)
    number: Counter[tuple[str, ...]] = Counter()
    last = {}
    for epoch in records.epochs:
        begin = begins.get((epoch.attempt, epoch.run))
        if begin is not None:
            nodes = tuple(sorted(set(begin.hosts)))
            images[nodes] += epoch.train_images + epoch.val_images
            seconds[nodes] += (epoch.end - epoch.start).total_seconds()
            number[nodes] += 1
            last[nodes] = epoch.batch, begin.workers
    operations = records.trial.proposal.operations.train
    for nodes, (batch, workers) in last.items():
        if seconds[nodes] > 0 and images[nodes] > 0:
            yield TrialSpeed(nodes, images[nodes] / seconds[nodes], operations, batch, workers), number[nodes]


def relative_speeds(speeds: Sequence[TrialSpeed]) -> dict[str, list[float]]:
    """Node -> logarithms of its trials' speeds relative to similar trials on other nodes, where there are enough."""
    by_workers: defaultdict[int, list[TrialSpeed]] = defaultdict(list)
    for measured in sorted(speeds, key=attrgetter("operations")):
        by_workers[measured.workers].append(measured)
    found: defaultdict[str, list[float]] = defaultdict(list)
    for alike in by_workers.values():
        if len({measured.nodes for measured in alike}) > 1:
            for measured, relative in _compared(alike):
                for node in measured.nodes:
                    found[node].append(relative)
    return dict(found)


def _compared(alike: Sequence[TrialSpeed]) -> Iterator[tuple[TrialSpeed, float]]:
    """Trials in the order of their operations, with the difference of their levels from those of similar trials."""
    trend = _trend(alike)
    levels = [math.log(each.speed) - trend * math.log(max(each.operations, 1)) for each in alike]
    of_batch: defaultdict[int, list[int]] = defaultdict(list)
    for place, measured in enumerate(alike):
        of_batch[measured.batch].append(place)
    everywhere = list(range(len(alike)))
    for places in of_batch.values():
        is_enough = len(places) >= _ENOUGH
        for position, place in enumerate(places):
            similar = _similar(alike, places if is_enough else everywhere, position if is_enough else place)
            if len(similar) >= _FEWEST_COMPARED:
                yield alike[place], levels[place] - median(levels[each] for each in similar)


def _trend(speeds: Sequence[TrialSpeed]) -> float:
    """Slope of the logarithm of the speed over that of the operations, by least squares; 0 for equal operations."""
    across = [math.log(max(each.operations, 1)) for each in speeds]
    up = [math.log(each.speed) for each in speeds]
    middle, height = math.fsum(across) / len(across), math.fsum(up) / len(up)
    spread = math.fsum((value - middle) ** 2 for value in across)
    if spread == 0:
        return 0.0
    return math.fsum((a - middle) * (b - height) for a, b in zip(across, up, strict=True)) / spread


def _similar(alike: Sequence[TrialSpeed], places: Sequence[int], position: int) -> list[int]:
    """The places of the trials on other nodes that are nearest to a position in a list of places, from both sides."""
    own = alike[places[position]].nodes
    nodes, last = set(own), len(places)
    most = min(max(last // _SHARE, _FEWEST_COMPARED), _COMPARED)  # of few trials only the nearest are similar
    found: list[int] = []
    for distance in range(1, min(last, _FARTHEST)):
        for index in (position - distance, position + distance):
            if 0 <= index < last:
                others = alike[places[index]].nodes
                if others != own and nodes.isdisjoint(others):
                    found.append(places[index])
        if len(found) >= most:
            break
    return found[:most]


def slow_nodes(relative: Mapping[str, Sequence[float]]) -> set[str]:
    """The nodes that are slow, by the relative speeds of their trials (logarithms)."""
    middles = {node: median(values) for node, values in relative.items()}
    distances = [
        abs(value - middles[node]) * math.sqrt(len(values) / (len(values) - 1))
        for node, values in relative.items()
        if len(values) > 1
        for value in values
    ]
    if len(middles) < 2 or not distances:
        return set()
    spread = _MAD_TO_DEVIATION * median(distances)
    limit = NormalDist().inv_cdf(1 - _CHANCE / len(middles))
    return {
        node
        for node, values in relative.items()
        if len(values) >= _FEWEST_TRIALS
        and middles[node] < math.log(_SLOW)
        and middles[node] < -limit * _ERROR_OF_MEDIAN * spread * math.sqrt(1 / len(values) + 1 / _COMPARED)
    }


def _failures(result: Result) -> Counter[str]:
    """Number of failed attempts that had begun on each node."""
    hosts = {
        (begin.trial, begin.attempt): begin.hosts for records in result.collected.trials for begin in records.begins
    }
    return Counter(
        node
        for end in result.state.ends
        if is_failure(end.reason)
        for node in set(hosts.get((end.trial, end.attempt), ()))
    )
