"""Activity of a campaign over time: running trials and operations per second, in equal intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.results.result import Result

_INTERVALS: Final = 60
_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Activity:
    """Activity in equal intervals from the first begin to the end of the last epoch that counts.

    The operations of an epoch are spread evenly over its duration.

    Attributes:
        edges: bounds of the intervals in seconds, shape (intervals + 1,).
        trials: mean number of running trials in each interval, shape (intervals,).
        ops: operations per second in each interval, shape (intervals,).
        utilisation: time of running trials divided by that of the slots that the settings gave, between 0 and 1.
    """

    edges: _Array
    trials: _Array
    ops: _Array
    utilisation: float


def activity_of(result: Result) -> Activity | None:
    """Compute the activity of a campaign; None before an epoch with a duration has ended."""
    start, seconds = result.started, result.score.seconds
    if start is None or seconds <= 0:
        return None
    edges = np.linspace(0.0, seconds, _INTERVALS + 1)
    epochs = result.collected.epochs
    runs = [span for trial in result.collected.trials for span in _run_times(trial)]
    busy = _cumulative(
        edges,
        np.array([(begin - start).total_seconds() for begin, _ in runs]),
        np.array([(end - start).total_seconds() for _, end in runs]),
        np.array([(end - begin).total_seconds() for begin, end in runs]),
    )
    operations = _cumulative(
        edges,
        np.array([(epoch.start - start).total_seconds() for epoch in epochs]),
        np.array([(epoch.end - start).total_seconds() for epoch in epochs]),
        np.array([float(epoch.ops) for epoch in epochs]),
    )
    interval = seconds / _INTERVALS
    slot_seconds = result.slot_seconds(seconds)
    return Activity(
        edges=edges,
        trials=np.diff(busy) / interval,
        ops=np.diff(operations) / interval,
        utilisation=float(busy[-1] - busy[0]) / slot_seconds,
    )


def _run_times(trial: TrialRecords) -> Iterator[tuple[datetime, datetime]]:
    """Begin and end of each run of a trial.

    A run without an end line lasts until the end of its last epoch that counts.
    """
    ends = {(end.attempt, end.run): end.time for end in trial.ends}
    begins = sorted(trial.begins, key=lambda begin: begin.time)
    for begin, after in zip(begins, [*begins[1:], None], strict=False):
        own = (
            epoch.end for epoch in trial.epochs if epoch.end >= begin.time and (not after or epoch.end <= after.time)
        )
        end = ends.get((begin.attempt, begin.run)) or max(own, default=None)
        if end is not None:
            yield begin.time, end


def _cumulative(times: _Array, begins: _Array, ends: _Array, amounts: _Array) -> _Array:
    """Sum of the amounts up to each time, where each amount accrues linearly between its begin and its end."""
    spans = np.maximum(ends - begins, 1e-9)
    return np.array([float(np.sum(amounts * np.clip((time - begins) / spans, 0.0, 1.0))) for time in times])
