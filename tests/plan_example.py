"""A plan as a record, for tests of campaigns that were made with one."""

from __future__ import annotations

from datetime import datetime, timezone

from aiperf_orch.records.plan import (
    Plan,
    PlanSource,
    Quantities,
    Quantity,
    RankableFrom,
    TimeShare,
    TimeShares,
)

_UNKNOWN = Quantity(missing="known from an earlier campaign")
PLAN = Plan(
    version="0.2.0.dev0",
    time=datetime(2026, 1, 2, 2, tzinfo=timezone.utc),
    nodes=1,
    slots=2,
    duration=3600.0,
    level=0.9,
    sources=[PlanSource(kind="campaign", name="abcde", slots=1, trials=3, epochs=9)],
    quantities=Quantities(
        **dict.fromkeys(Quantities.model_fields, _UNKNOWN)
        | {"score": Quantity(expected=100.0, low=90.0, high=120.0), "error": Quantity(expected=0.1)}
    ),
    shares=TimeShares(**dict.fromkeys(TimeShares.model_fields, TimeShare(share=0.125))),
    missed_rules=["data: the data set is digits"],
    smallest=RankableFrom(nodes=1, slots=2, missing="no campaign with these settings is rankable"),
    this_size=RankableFrom(nodes=1, slots=2, duration=3600.0),
    notes=["an assumption"],
)
"""A plan with a score, with an interval, and an error without one."""
