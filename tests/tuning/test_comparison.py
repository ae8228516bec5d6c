"""Order of the measurements of a tuning, and what they decide."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aiperf_orch.tuning.alternatives import BATCH, COMPILE, PRECISION, Alternative, Setup, with_values
from aiperf_orch.tuning.comparison import (
    NETWORKS,
    Compared,
    Step,
    Verdict,
    compare,
    next_step,
    proposed,
    steps,
    winners,
)

pytestmark = pytest.mark.unit

SETUP = Setup(precision="fp32", batch=32, workers=1, compile=False, loaders=None)
PRESENT = Alternative(SETUP)
BF16 = with_values(SETUP, {PRECISION: "bf16"})
FP16 = with_values(SETUP, {PRECISION: "fp16"})
COMPILED = with_values(SETUP, {COMPILE: True})
LARGE = with_values(SETUP, {BATCH: 64})


def _rates(alternative: Alternative, rates: Sequence[float]) -> dict[Step, float]:
    return {Step(i, alternative, network): rate for i, rate in enumerate(rates) for network in NETWORKS}


def test_measurements_are_interleaved_and_begin_with_the_present_settings() -> None:
    planned = [(step.repetition, step.alternative, step.network) for step in steps(PRESENT, [BF16, FP16])]
    first = [(0, each, network) for each in (PRESENT, BF16, FP16) for network in ("seed", "morphed")]
    assert planned[:6] == first
    assert planned[6:8] == [(1, PRESENT, "seed"), (1, PRESENT, "morphed")]
    assert len(planned) == 18


def test_a_failed_alternative_is_not_measured_again() -> None:
    planned = steps(PRESENT, [BF16, FP16])
    done = dict.fromkeys(planned[:2], 1.0)
    assert next_step(planned, done, {}) == planned[2]
    assert next_step(planned, done, {BF16: "no"}) == planned[4]
    assert next_step(planned, dict.fromkeys(planned, 1.0), {}) is None


@pytest.mark.parametrize(
    ("before", "after", "verdict", "gain"),
    [
        ([100, 101, 102], [120, 121, 125], Verdict.FASTER, 0.198),
        ([100, 101, 102], [80, 81, 82], Verdict.SLOWER, -0.198),
        ([100, 101, 122], [120, 121, 125], Verdict.NO_DIFFERENCE, 0.198),
        ([100, 101, 102], [80, 81, 100], Verdict.NO_DIFFERENCE, -0.198),
        ([100.0, 100.1, 100.2], [101, 101, 101], Verdict.NO_DIFFERENCE, 0.009),
        ([100.0, 100.1, 100.2], [99, 99, 99], Verdict.NO_DIFFERENCE, -0.011),
        ([100, 101], [120, 121], Verdict.UNDECIDED, 0.199),
        ([100], [], Verdict.UNDECIDED, None),
    ],
)
def test_a_difference_counts_only_beyond_the_spread(
    before: list[float], after: list[float], verdict: Verdict, gain: float | None
) -> None:
    found = compare(PRESENT, BF16, _rates(PRESENT, before) | _rates(BF16, after), {})
    assert found.verdict is verdict
    assert found.gain == (None if gain is None else pytest.approx(gain, abs=0.001))


def test_both_networks_count_by_the_time_of_equal_images() -> None:
    rates = _rates(PRESENT, [100, 100, 100]) | _rates(BF16, [100, 100, 100])
    rates |= {Step(i, BF16, "morphed"): 300.0 for i in range(3)}
    found = compare(PRESENT, BF16, rates, {})
    assert found.gain == pytest.approx(0.5)
    assert found.rates == {"seed": 100, "morphed": 300}


def test_a_failure_is_a_row_with_its_reason() -> None:
    found = compare(PRESENT, BF16, _rates(PRESENT, [1, 1, 1]), {BF16: "OUT_OF_MEMORY: full"})
    assert (found.verdict, found.reason, found.gain) == (Verdict.FAILED, "OUT_OF_MEMORY: full", None)


def _faster(alternative: Alternative, gain: float, verdict: Verdict = Verdict.FASTER) -> Compared:
    return Compared(alternative, verdict, {}, gain)


def test_the_best_value_of_each_key_wins() -> None:
    compared = [
        _faster(BF16, 0.2),
        _faster(FP16, 0.3),
        _faster(LARGE, 0.5, Verdict.NO_DIFFERENCE),
        _faster(COMPILED, 0.1),
    ]
    assert [each.alternative for each in winners(compared)] == [FP16, COMPILED]


@pytest.mark.parametrize(
    ("together", "expected"),
    [
        (None, FP16),
        (Verdict.UNDECIDED, FP16),
        (Verdict.FASTER, "together"),
        (Verdict.NO_DIFFERENCE, None),
        (Verdict.FAILED, None),
    ],
)
def test_proposed_is_what_was_confirmed_or_else_the_best_one(together: Verdict | None, expected: object) -> None:
    both = with_values(SETUP, {PRECISION: "fp16", COMPILE: True})
    confirmed = None if together is None else _faster(both, 0.4, together)
    found = proposed([_faster(FP16, 0.3), _faster(COMPILED, 0.1)], confirmed)
    assert (found and found.alternative) == (both if expected == "together" else expected)


def test_nothing_is_proposed_where_nothing_is_faster() -> None:
    assert proposed([_faster(FP16, 0.3, Verdict.NO_DIFFERENCE)], None) is None
