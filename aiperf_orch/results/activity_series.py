"""How busy a campaign was over time: trials at work, and operations per second, in equal intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.results.collect import TrialRecords
from aiperf_orch.results.result import Result

_INTERVALS: Final = 60
_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Activity:
    """What was done in each of equal intervals from the first begin to the end of the last epoch that counts.

    `edges` are the intervals' bounds in seconds, one more than there are intervals; `trials` how many were at work on
    average, `ops` operations per second. An epoch's operations are spread evenly over its time. `utilisation` is
    the share of the time that `concurrency` trials could have been at work in which they were.
    """

    edges: _Array
    trials: _Array
    ops: _Array
    utilisation: float


def activity_of(result: Result) -> Activity | None:
    """The activity of a campaign; None before any epoch has taken time."""
    start, seconds = result.started, result.score.seconds
    if start is None or seconds <= 0:
        return None
    edges = np.linspace(0.0, seconds, _INTERVALS + 1)
    epochs = result.collected.epochs
    work = [span for trial in result.collected.trials for span in _at_work(trial)]
    busy = _until(
        edges,
        np.array([(begin - start).total_seconds() for begin, _ in work]),
        np.array([(end - start).total_seconds() for _, end in work]),
        np.array([(end - begin).total_seconds() for begin, end in work]),
    )
    done = _until(
        edges,
        np.array([(epoch.start - start).total_seconds() for epoch in epochs]),
        np.array([(epoch.end - start).total_seconds() for epoch in epochs]),
        np.array([float(epoch.ops) for epoch in epochs]),
    )
    interval = seconds / _INTERVALS
    possible = seconds * result.directory.settings.campaign.concurrency
    return Activity(edges, np.diff(busy) / interval, np.diff(done) / interval, float(busy[-1] - busy[0]) / possible)


def _at_work(trial: TrialRecords) -> Iterator[tuple[datetime, datetime]]:
    """From each run's begin line to its end line; of a run that wrote none, to the end of its last epoch that counts."""
    ends = {(end.attempt, end.run): end.time for end in trial.ends}
    begins = sorted(trial.begins, key=lambda begin: begin.time)
    for begin, after in zip(begins, [*begins[1:], None], strict=False):
        own = (
            epoch.end for epoch in trial.epochs if epoch.end >= begin.time and (not after or epoch.end <= after.time)
        )
        end = ends.get((begin.attempt, begin.run)) or max(own, default=None)
        if end is not None:
            yield begin.time, end


def _until(times: _Array, begins: _Array, ends: _Array, amounts: _Array) -> _Array:
    """How much was done until each time, where every amount is done evenly between its begin and its end."""
    spans = np.maximum(ends - begins, 1e-9)
    return np.array([float(np.sum(amounts * np.clip((time - begins) / spans, 0.0, 1.0))) for time in times])
