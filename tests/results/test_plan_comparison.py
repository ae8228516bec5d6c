"""Comparison of a campaign's plan with what was measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.results.plan_comparison import plan_comparison
from plan_example import PLAN
from results.rankable import RANKABLE

pytestmark = pytest.mark.unit


def test_a_campaign_without_a_plan_has_no_comparison() -> None:
    assert plan_comparison(RANKABLE) is None


@pytest.mark.parametrize(("score", "inside"), [(89.9, False), (90.0, True), (120.0, True), (120.1, False)])
def test_a_measured_number_is_compared_with_its_interval(score: float, inside: bool) -> None:
    result = replace(RANKABLE, state=CampaignState(plan=PLAN), score=replace(RANKABLE.score, score=score))
    result.__dict__["node_hours"] = None  # computed from a directory, which this result does not have
    rows = {row["quantity"]: row for row in plan_comparison(result) or []}
    assert list(rows) == ["score", "error"]  # what was not predicted, or not measured, has no row
    assert (rows["score"]["measured"], rows["score"]["inside"]) == (score, inside)
    assert rows["error"]["inside"] is None
