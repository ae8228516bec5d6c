"""Which allocations are submitted next, for how long, and when their failures pause a campaign."""

from dataclasses import replace
from datetime import timedelta

import pytest

from aiperf_orch.campaign.workforce import AgentState, AllocationState, Workforce
from aiperf_orch.controller.allocation_plan import (
    DISMISSED,
    NEVER_ACCEPTED,
    AllocationLimits,
    Planned,
    exhaustion_reason,
    failure_reason,
    plan_allocations,
    time_limit,
)
from aiperf_orch.records.workforce import AgentLeave, AgentRecord, AllocationEnd
from aiperf_orch.settings.models import SiteSettings
from controller.builders import NOW

pytestmark = pytest.mark.unit

HOUR = 3600.0
LIMITS = AllocationLimits(nodes=2, slots=4, time_limit=2 * HOUR, at_once=1, total=None, margin=180.0, least=120.0)
TWO = AllocationLimits(nodes=2, slots=4, time_limit=2 * HOUR, at_once=2, total=None, margin=180.0, least=120.0)
HERE = AllocationLimits(nodes=1, slots=2, time_limit=None, at_once=1, total=None, margin=0.0, least=0.0)


def hours(number):
    return NOW + timedelta(hours=number)


def name(number):
    return f"qk3f9-a{number:05d}"


def workforce(*allocations):
    """Allocations, each given by words: `ran` has agents, `after` the one before, or `ended`, `dismissed` …"""
    made = Workforce()
    for number, words in enumerate(allocations, 1):
        words = words.split()
        state = AllocationState(name(number), 2, 4, name(number - 1) if "after" in words else None, NOW, job="7")
        if "unanswered" in words:
            state.job = None
        reasons = {"ended": "NODE_FAILURE", "dismissed": DISMISSED, "never": NEVER_ACCEPTED}
        for word in reasons.keys() & set(words):
            state.end, state.ended = AllocationEnd(name=state.name, reason=reasons[word], message="why"), hours(number)
        if "ran" in words or "failed" in words:
            record = AgentRecord(
                agent=f"n1.{number}", allocation=state.name, job="7", host="n1", slots=4, cores=4, gpus=0, time=NOW,
                ends_at=None if "unlimited" in words else hours(2),
            )  # fmt: skip
            left = "failed" in words or state.end
            leave = AgentLeave(agent=record.agent, time=NOW, reason="failed" if "failed" in words else "lost")
            made.agents[record.agent] = AgentState(record, leave if left else None)
        made.allocations[state.name] = state
    return made


@pytest.mark.parametrize(
    ("allocations", "limits", "deadline", "planned"),
    [
        pytest.param([], LIMITS, None, [None], id="the first at once"),
        pytest.param([], TWO, None, [None, None], id="as many as run at once"),
        pytest.param(["pending"], LIMITS, None, [], id="it is pending"),
        pytest.param(["unanswered"], LIMITS, None, [], id="it may have been accepted"),
        pytest.param(["never unanswered"], LIMITS, None, [None], id="it was never accepted"),
        pytest.param(["ran"], LIMITS, None, [], id="no trial has begun"),
        pytest.param(["ran"], LIMITS, hours(2), [], id="it lasts to the end of the campaign"),
        pytest.param(["ran"], LIMITS, hours(2.01), [], id="hardly anything is left after it"),
        pytest.param(["ran"], LIMITS, hours(5), [1], id="another one follows it"),
        pytest.param(["ran unlimited"], LIMITS, hours(5), [1], id="its end follows from its limit"),
        pytest.param(["ran", "after"], LIMITS, hours(5), [], id="another one waits already"),
        pytest.param(["ran ended", "after"], LIMITS, hours(5), [], id="the next one starts"),
        pytest.param(["ran ended", "after ran"], LIMITS, hours(5), [2], id="the third follows the second"),
        pytest.param(["ran ended"], LIMITS, hours(5), [None], id="it ended early"),
        pytest.param(["ran ended"], LIMITS, hours(0.02), [], id="the campaign is nearly over"),
        pytest.param(["ran", "ran"], TWO, hours(5), [1, 2], id="two chains"),
        pytest.param(["ran", "ran ended"], TWO, hours(5), [None, 1], id="a chain ended"),
        pytest.param(["ran"], HERE, hours(5), [], id="no time limit"),
    ],
)
def test_which_allocations_are_submitted(allocations, limits, deadline, planned):
    found = plan_allocations(workforce(*allocations), limits, deadline, NOW)
    assert [each.after for each in found] == [None if number is None else name(number) for number in planned]


@pytest.mark.parametrize(
    ("allocations", "number", "exhausted"),
    [
        (["ran ended"], 1, False),
        (["ran ended", "never unanswered"], 1, False),
        (["ran ended", "ended"], 0, True),
        (["ran ended", "ran"], 0, False),
        (["ran", "ended"], 0, False),
    ],
)
def test_the_number_of_allocations_in_all_is_limited(allocations, number, exhausted):
    limits = AllocationLimits(nodes=2, slots=4, time_limit=HOUR, at_once=2, total=2, margin=0.0, least=0.0)
    found = workforce(*allocations)
    assert len(plan_allocations(found, limits, hours(9), NOW)) == number
    assert (exhaustion_reason(found, limits) is not None) == exhausted


@pytest.mark.parametrize(
    ("total", "words"),
    [
        (1, "the only allocation that the campaign may have (scheduler.allocations.total: 1) has ended"),
        (2, "all 2 allocations that the campaign may have (scheduler.allocations.total) have ended"),
    ],
)
def test_the_want_of_allocations_is_said_in_words(total, words):
    limits = replace(LIMITS, total=total)
    reason = exhaustion_reason(workforce(*["ran ended"] * total), limits)
    assert reason == f"no further trial can start: {words}; agents that are started manually can go on"


@pytest.mark.parametrize(
    ("planned", "deadline", "expected"),
    [
        (Planned(), None, 2 * HOUR),
        (Planned(), hours(9), 2 * HOUR),
        (Planned(), hours(1), HOUR + 180),
        (Planned(name(1), hours(2)), hours(3), HOUR + 180),
        (Planned(), hours(-1), 180.0),
    ],
)
def test_an_allocation_ends_with_the_campaign(planned, deadline, expected):
    assert time_limit(planned, LIMITS, 9 * HOUR, deadline, NOW) == expected


def test_a_short_campaign_and_this_machine_limit_the_time():
    assert time_limit(Planned(), LIMITS, HOUR, None, NOW) == HOUR + 180
    assert time_limit(Planned(), HERE, HOUR, None, NOW) is None


@pytest.mark.parametrize(
    ("allocations", "reason"),
    [
        (["ended"], "allocation qk3f9-a00001 (job 7) ended NODE_FAILURE, and none of its agents served: why"),
        (["failed ended"], "allocation qk3f9-a00001 (job 7) ended"),
        (["dismissed"], None),
        (["unanswered never"], None),
        (["ran ended"], None),
        (["ran ended", "ended", "ended"], None),
        (["ran ended", "ended", "dismissed", "ended", "ended"], "3 allocations in a row did not serve; the last one: "),
        (["ended", "ended", "ran ended"], None),
        (["ran", "ended"], None),
    ],
)
def test_allocations_that_do_not_serve_pause_the_campaign(allocations, reason):
    found = workforce(*allocations)
    why = failure_reason(found, [name(len(allocations))])
    assert (why or "").startswith(reason or "")
    assert (why is None) == (reason is None)


@pytest.mark.parametrize(
    ("scheduler", "limits"),
    [
        ({"kind": "slurm"}, None),
        ({"kind": "agents"}, None),
        ({"kind": "local", "job_per_trial": True}, None),
        ({"kind": "local", "job_per_trial": False}, AllocationLimits(1, 3, None, 1, None, 0.0, 0.0, grows=True)),
        (
            {
                "kind": "pbs",
                "cpus": 8,
                "allocations": {"nodes": 9, "time_limit": "6h", "at_once": 2, "total": 5, "cpus_per_node": 64},
            },
            AllocationLimits(9, 8, 6 * HOUR, 2, 5, margin=180.0, least=120.0),
        ),
    ],
)
def test_limits_follow_from_the_settings(scheduler, limits):
    settings = SiteSettings.model_validate({"scheduler": scheduler, "campaign": {"concurrency": 3}})
    assert AllocationLimits.of(settings) == limits
