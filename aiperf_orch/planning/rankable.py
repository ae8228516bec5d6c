"""From which duration on a campaign of a size is rankable, by the newest rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from aiperf_orch.planning.prediction import Prediction, Target, predict
from aiperf_orch.planning.samples import Sample
from aiperf_orch.records.plan import RankableFrom
from aiperf_orch.results.rules import FROZEN, RULE_SETS
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration

LONGEST: Final = 48 * 3600.0
"""Seconds; a longer campaign is not considered."""
_MINUTE: Final = 60.0
_LIMITS: Final[Mapping[str, Mapping[str, Any]]] = {rule.id: rule.limits for rule in RULE_SETS[list(FROZEN)[-1]].rules}
ERROR_LIMIT: Final[float] = _LIMITS["error"]["highest_error"]
"""The highest error of a rankable result."""


def missed_rules(settings: SiteSettings) -> Iterator[str]:
    """Rules that no campaign with these settings meets, with the reason."""
    data, limits = settings.data, _LIMITS["data"]
    if settings.simulated:
        yield "trained: the trials are simulated (training.trainer)"
    if data.name != limits["data"]:
        yield f"data: the data set is {data.name} (data.name), not {limits['data']}"
    elif list(data.input_shape) != limits["input_shape"] or data.outputs != 1000:
        height, width, _ = data.input_shape
        yield f"data: images of {height} x {width} px and {data.outputs} classes, not 224 x 224 and 1000"


def rankable_from(samples: Sequence[Sample], target: Target, nodes: int, missed: Sequence[str]) -> RankableFrom:
    """The smallest duration of a rankable campaign.

    Args:
        samples: What was measured.
        target: The size, and the limit of the error; its duration is not used.
        nodes: Number of nodes of this size.
        missed: Rules that no campaign with the settings meets.
    """
    size = {"nodes": nodes, "slots": target.slots}
    if missed:
        return RankableFrom(**size, missing=f"no campaign with these settings is rankable: {missed[0]}")
    limits = _LIMITS["duration"]
    least = float(limits["least_seconds"])
    if any(not trial.errors for sample in samples for trial in sample.trials if trial.epochs):
        return RankableFrom(
            **size,
            missing=f"at least {format_duration(least)}; from when on the error is at most {ERROR_LIMIT:.0%} is known "
            "from an earlier campaign on this data set",
        )
    longest = Target(target.slots, LONGEST, target.epochs_of_round, target.error_limit)
    found = predict(samples, longest, until_reached=True)
    reached = found.time_of_reaching()
    if reached is None:
        return RankableFrom(
            **size,
            missing=f"the error is not expected to be at most {ERROR_LIMIT:.0%} within {format_duration(LONGEST)}",
        )
    under_way = float(limits["least_seconds_under_way"]) / max(_share_under_way(found, target.slots), 1e-9)
    seconds = max(least, under_way, reached.expected if reached.high is None else reached.high)
    return RankableFrom(**size, duration=math.ceil(seconds / _MINUTE) * _MINUTE)


def _share_under_way(found: Prediction, slots: int) -> float:
    """Share of the time in which at least one epoch is under way, as if slots were independent of one another."""
    at_work = found.share("training") + found.share("validation") + found.share("lost")
    return 1.0 - (1.0 - min(at_work, 1.0)) ** slots
