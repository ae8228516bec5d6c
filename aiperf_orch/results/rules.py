"""The rules of a ranked result as data, versioned: which a campaign misses, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiperf_orch.campaign.state import Phase
from aiperf_orch.results.result import Result
from aiperf_orch.units import format_duration


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: its id, its sentence, and `why_missed`, which gives the reason for a campaign that misses it."""

    id: str
    sentence: str
    why_missed: Callable[[Result], str | None]


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that a campaign misses, and why."""

    rule: Rule
    why: str


def misses(result: Result) -> list[Miss]:
    """The rules that a result misses; it is rankable when there are none."""
    return [Miss(rule, why) for rule in RULES if (why := rule.why_missed(result)) is not None]


def _duration(result: Result) -> str | None:
    least = 3600
    # where the deadline cut an epoch off, what is measured ends up to one epoch earlier
    cut_off = result.longest_epoch if result.state.by_deadline and result.duration >= least else 0
    if result.score.seconds + cut_off >= least:
        return None
    return f"it measured {format_duration(result.score.seconds)}"


def _ended(result: Result) -> str | None:
    return None if result.phase is Phase.FINISHED else f"it is {result.phase.value}"


def _trained(result: Result) -> str | None:
    return "its trials were simulated" if result.simulated else None


def _precision(result: Result) -> str | None:
    low = sorted(result.precisions - {"fp32", "tf32", "bf16", "fp16"})
    return f"trials computed in {', '.join(low)}" if low else None


def _data(result: Result) -> str | None:
    if result.data != "imagenet":
        return f"its data set is {result.data}"
    sizes = sorted(result.validation_sizes - {50_000})
    if sizes or result.input_shape != (224, 224, 3):
        return f"its images are {result.input_shape}, and it validated on {', '.join(map(str, sizes)) or '50000'}"
    return None


def _weights(result: Result) -> str | None:
    if result.foreign_weights:
        return f"trials {', '.join(map(str, result.foreign_weights[:5]))} began with weights of no trial of it"
    return None


def _error(result: Result) -> str | None:
    most = 0.30
    error = result.score.error
    if error is None:
        return "no epoch has ended"
    return None if error <= most else f"its error is {error:.2%}"


def _clocks(result: Result) -> str | None:
    most = 2.0
    return None if result.clock_skew < most else f"a node's clock is {result.clock_skew:.1f} s off"


def _records(result: Result) -> str | None:
    return f"{len(result.faults)} line(s) do not count; the first: {result.faults[0]}" if result.faults else None


VERSION: Final = "aiperf-1.0"
RULES: Final = (
    Rule("duration", "the campaign lasts at least 1 hour", _duration),
    Rule("ended", "the campaign has ended by its time limit or its number of trials", _ended),
    Rule("trained", "the trials are trained, not simulated", _trained),
    Rule("precision", "the precision is not below 16 bit", _precision),
    Rule("data", "ImageNet-1k at 224 x 224, validated on all 50,000 images", _data),
    Rule("weights", "no weights come from outside the campaign", _weights),
    Rule("error", "the error is at most 30 %", _error),
    Rule("clocks", "clock skew is below 2 s", _clocks),
    Rule("records", "every recorded line counts", _records),
)
