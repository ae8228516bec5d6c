"""Rules of a ranked result: the rules that a campaign misses, with reasons.

The rules are data: `aiperf-1.1.json` holds the id, the sentence and the limits of each rule, and is frozen, like that
of each earlier version. A modified file changes the name of the version, and with it every result row that was
evaluated by it. The rules of a campaign are those that were in force when it began: its journal's first line decides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from aiperf_orch.campaign.state import Phase
from aiperf_orch.results.result import Result
from aiperf_orch.util.dataset_catalogue import DATASET_SIZES
from aiperf_orch.util.units import format_duration

FROZEN: Final = {
    "aiperf-1.0": "140e0f0a1e062d45eea9a87c4e5aec3b7e8caafa4cea4309040d24d6600476c3",
    "aiperf-1.1": "b58a6a26bc56f598848c59cc4607fc353cec2a6cc055ef498d74af43e74cd4f5",
}
"""Version -> SHA-256 of its rules as canonical JSON."""
OF_JOURNAL_FORMAT: Final = {1: "aiperf-1.0", 2: "aiperf-1.1"}
"""Format of a journal's first line -> version of the rules of its campaign.

An earlier aiperf-orch would evaluate a campaign by rules that are not the campaign's, so that new rules raise the
format of the journal, and no setting selects them.
"""
_IMAGENET_1K: Final = 1000  # classes


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: id, sentence for messages, and limits."""

    id: str
    sentence: str
    limits: Mapping[str, Any]

    def why_missed(self, result: Result) -> str | None:
        """Return why a result misses the rule; None when it meets the rule."""
        return _CHECKS[self.id](result, self.limits)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules of one version; the version of modified rules contains `modified`. `sha256` is the hash of the data."""

    version: str
    sha256: str
    rules: tuple[Rule, ...]

    def misses(self, result: Result) -> list[Miss]:
        """Return the rules that a result misses; an empty list means rankable."""
        return [Miss(rule, why) for rule in self.rules if (why := rule.why_missed(result)) is not None]


@dataclass(frozen=True, slots=True)
class Miss:
    """A rule that a campaign misses, with the reason."""

    rule: Rule
    why: str


def read_rules(text: str) -> RuleSet:
    """Parse the JSON text that defines a rule set."""
    data = json.loads(text)
    digest = hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    version = data["version"]
    if FROZEN.get(version) != digest:
        version = f"{version}-modified-{digest[:12]}"
    return RuleSet(version, digest, tuple(Rule(**rule) for rule in data["rules"]))


def rules_of(result: Result) -> RuleSet:
    """Return the rules of a campaign, in force when it began."""
    return RULE_SETS[OF_JOURNAL_FORMAT[result.state.journal_format]]


def _duration(result: Result, limits: Mapping[str, Any]) -> str | None:
    least = limits["least_seconds"]
    if "least_seconds_under_way" not in limits:
        return _measured_duration(result, least)
    lasted = result.duration if result.state.by_deadline else result.score.seconds
    if lasted < least:
        return f"it lasted {format_duration(lasted)}"
    if result.under_way < limits["least_seconds_under_way"]:
        return f"epochs were under way for {format_duration(result.under_way)}"
    return None


def _measured_duration(result: Result, least: float) -> str | None:
    """The rule of `aiperf-1.0`: the time from the first begin to the last epoch."""
    # when the deadline interrupted an epoch, the measured time may be shorter by the duration of one epoch
    cut_off = result.longest_epoch if result.state.by_deadline and result.duration >= least else 0
    if result.score.seconds + cut_off >= least:
        return None
    return f"it measured {format_duration(result.score.seconds)}"


def _ended(result: Result, _limits: Mapping[str, Any]) -> str | None:
    return None if result.phase is Phase.FINISHED else f"it is {result.phase.value}"


def _trained(result: Result, _limits: Mapping[str, Any]) -> str | None:
    return "its trials were simulated" if result.simulated else None


def _precision(result: Result, limits: Mapping[str, Any]) -> str | None:
    low = sorted(result.precisions.difference(limits["precisions"]))
    return f"trials computed in {', '.join(low)}" if low else None


def _data(result: Result, limits: Mapping[str, Any]) -> str | None:
    if result.data != limits["data"]:
        return f"its data set is {result.data}"
    if result.classes != _IMAGENET_1K:
        return f"its images are of {result.classes} classes"
    if len(result.data_digests) > 1:
        return f"its trials read {len(result.data_digests)} different listings of the data"
    images, _ = DATASET_SIZES[limits["data"], _IMAGENET_1K]
    if other := sorted(result.training_sizes - {images}):
        return f"its epochs trained on {', '.join(map(str, other[:3]))} images"
    sizes = sorted(result.validation_sizes - {limits["validation_images"]})
    if sizes or list(result.input_shape) != limits["input_shape"]:
        validated = ", ".join(map(str, sizes or [limits["validation_images"]]))
        return f"its images are {result.input_shape}, and it validated on {validated}"
    return None


def _weights(result: Result, _limits: Mapping[str, Any]) -> str | None:
    if result.foreign_weights:
        trials = ", ".join(map(str, result.foreign_weights[:5]))
        return f"trials {trials} began with weights from outside the campaign"
    return None


def _error(result: Result, limits: Mapping[str, Any]) -> str | None:
    error = result.score.error
    if error is None:
        return "no epoch has ended"
    return None if error <= limits["highest_error"] else f"its error is {error:.2%}"


def _clocks(result: Result, limits: Mapping[str, Any]) -> str | None:
    if result.clock_skew < limits["skew_below_seconds"]:
        return None
    return f"a node's clock is {result.clock_skew:.1f} s off"


def _records(result: Result, _limits: Mapping[str, Any]) -> str | None:
    return f"{len(result.faults)} line(s) do not count; the first: {result.faults[0]}" if result.faults else None


_CHECKS: Final[dict[str, Callable[[Result, Mapping[str, Any]], str | None]]] = {
    "duration": _duration,
    "ended": _ended,
    "trained": _trained,
    "precision": _precision,
    "data": _data,
    "weights": _weights,
    "error": _error,
    "clocks": _clocks,
    "records": _records,
}
RULE_SETS: Final[Mapping[str, RuleSet]] = {
    version: read_rules((files(__package__) / f"{version}.json").read_text(encoding="utf-8")) for version in FROZEN
}
"""Version -> its rules, the oldest first."""
