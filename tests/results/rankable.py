"""A result that meets every rule, for tests that change one of its properties."""

from __future__ import annotations

from typing import Any, cast

from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.results.collected_trials import Collected
from aiperf_orch.results.efficiency import Efficiency
from aiperf_orch.results.result import Result
from aiperf_orch.results.score import Score

RANKABLE = Result(
    directory=cast(Any, None),  # the rules do not read it
    state=CampaignState(by_deadline=True),
    collected=Collected([], None, []),
    score=Score(operations=10, seconds=3600.0, score=1.0, error=0.30, regulated=1.0, epochs=1),
    efficiency=Efficiency(),
    started=None,
    longest_epoch=100.0,
    under_way=3240.0,
    duration=3600.0,
    phase=Phase.FINISHED,
    simulated=False,
    data="imagenet",
    input_shape=(224, 224, 3),
    classes=1000,
    data_digests=frozenset({"1" * 64}),
    precisions=frozenset({"bf16", "fp16", "fp32", "tf32"}),
    training_sizes=frozenset({1_281_167}),
    validation_sizes=frozenset({50_000}),
    networks=1,
    foreign_weights=[],
    clock_skew=1.999,
    faults=[],
)
"""The result of a campaign that its deadline ended, at the limits of the rules."""


def short_score(seconds: float) -> Score:
    """A score whose error meets the rules, measured over a number of seconds."""
    return Score(operations=10, seconds=seconds, score=1.0, error=0.2, regulated=1.0, epochs=1)
