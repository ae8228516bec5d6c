"""Order of the measurements of `bench-node --tune`, and what they decide. Nothing is measured here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from aiperf_orch.tuning.alternatives import Alternative

NETWORKS: Final = ("seed", "morphed")
REPETITIONS: Final = 3
"""Measurements of a network in a setting; of two equal settings the ranges are disjoint by chance in 1 of 10 cases."""
LEAST_GAIN: Final = 0.02
"""Smallest gain that is proposed."""


class Verdict(StrEnum):
    """Result of a comparison with the present settings."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference"
    FAILED = "failed"
    UNDECIDED = "too few measurements"


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement: repetition (from 0), alternative and network."""

    repetition: int
    alternative: Alternative
    network: str


@dataclass(frozen=True, slots=True)
class Compared:
    """Comparison of an alternative with the present settings.

    Attributes:
        alternative: The alternative.
        verdict: What the measurements show.
        rates: Median images per second of each network that was measured.
        gain: Relative change of the rate over both networks, 0.1 for 10 % more; None where it was not measured.
        reason: Why it failed; empty otherwise.
    """

    alternative: Alternative
    verdict: Verdict
    rates: Mapping[str, float]
    gain: float | None = None
    reason: str = ""


def steps(present: Alternative, others: Sequence[Alternative]) -> list[Step]:
    """The measurements of some alternatives in their order: interleaved, the present settings first.

    Interleaving keeps a slow change of the node's speed from looking like a difference between settings.
    """
    return [
        Step(repetition, alternative, network)
        for repetition in range(REPETITIONS)
        for alternative in (present, *others)
        for network in NETWORKS
    ]


def next_step(planned: Sequence[Step], rates: Mapping[Step, float], failed: Mapping[Alternative, str]) -> Step | None:
    """The first measurement that is still to be made; None where there is none.

    Args:
        planned: All measurements, in their order.
        rates: Images per second of those that were made.
        failed: Reason of each alternative that failed: it is not measured again.
    """
    return next((step for step in planned if step not in rates and step.alternative not in failed), None)


def compare(
    present: Alternative, other: Alternative, rates: Mapping[Step, float], failed: Mapping[Alternative, str]
) -> Compared:
    """Compare an alternative with the present settings, by measurements that were interleaved.

    A difference counts only where the ranges of the repetitions are disjoint and it is `LEAST_GAIN` or more.
    """
    medians = median_rates(other, rates)
    if other in failed:
        return Compared(other, Verdict.FAILED, medians, reason=failed[other])
    pairs = list(zip(_overall(present, rates), _overall(other, rates), strict=False))
    if not pairs:
        return Compared(other, Verdict.UNDECIDED, medians)
    before, after = ([pair[i] for pair in pairs] for i in (0, 1))
    gain = statistics.median(after) / statistics.median(before) - 1
    verdict = Verdict.NO_DIFFERENCE
    if len(pairs) < REPETITIONS:
        verdict = Verdict.UNDECIDED
    elif min(after) > max(before) and gain >= LEAST_GAIN:
        verdict = Verdict.FASTER
    elif max(after) < min(before) and gain <= -LEAST_GAIN:
        verdict = Verdict.SLOWER
    return Compared(other, verdict, medians, gain)


def winners(compared: Sequence[Compared]) -> list[Compared]:
    """The best faster alternative of each key, in the order of the keys."""
    best: dict[str, Compared] = {}
    for each in compared:
        key = each.alternative.values[0][0]
        if each.verdict is Verdict.FASTER and (key not in best or _gain(each) > _gain(best[key])):
            best[key] = each
    return list(best.values())


def proposed(compared: Sequence[Compared], together: Compared | None) -> Compared | None:
    """The alternative to write into the site file; None where nothing is faster.

    Args:
        compared: One comparison for each alternative that was measured by itself.
        together: The winners together, measured after them; None where there was no time for that.
    """
    if together is None or together.verdict is Verdict.UNDECIDED:
        return max(winners(compared), key=_gain, default=None)
    return together if together.verdict is Verdict.FASTER else None


def median_rates(alternative: Alternative, rates: Mapping[Step, float]) -> dict[str, float]:
    """Median images per second of each network that was measured with an alternative."""
    found = {
        network: [rate for step, rate in rates.items() if (step.alternative, step.network) == (alternative, network)]
        for network in NETWORKS
    }
    return {network: statistics.median(measured) for network, measured in found.items() if measured}


def _overall(alternative: Alternative, rates: Mapping[Step, float]) -> list[float]:
    """Rate of each complete repetition over all networks, each with the same number of images."""
    found = []
    for repetition in range(REPETITIONS):
        measured = [rates.get(Step(repetition, alternative, network)) for network in NETWORKS]
        known = [rate for rate in measured if rate]
        if len(known) < len(NETWORKS):
            break
        found.append(statistics.harmonic_mean(known))
    return found


def _gain(compared: Compared) -> float:
    return compared.gain or 0.0
