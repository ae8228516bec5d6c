"""How much the controller submits at once, under which names: table tests."""

from datetime import datetime, timezone

import pytest

from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.controller.submission_planner import in_arrays, room_of

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)


def state_of(live):
    """A state whose live attempts are written `name[?][<leader]`: a question mark where the job's id is not known."""
    state = CampaignState()
    for trial, text in enumerate(live.split()):
        name, _, leader = text.partition("<")
        job = None if name.endswith("?") else str(trial)
        state.live[trial, 1] = AttemptState(trial, 1, name.rstrip("?"), NOW, after=leader or None, job=job)
    return state


@pytest.mark.parametrize(
    ("live", "proven", "free", "leaders"),
    [
        ("", False, 1, ""),  # the canary
        ("a", False, 0, ""),  # nothing follows a canary that has shown nothing yet
        ("a", True, 2, ""),  # what can start at once comes before what must wait
        ("a b c", True, 0, "a b"),
        ("a b c d<a", True, 0, "b"),
        ("a b c d<a e<b", True, 0, ""),
        ("b c d<a e<b", True, 0, "c"),  # a has ended: d is at work
        ("c d<a e<b", True, 0, "c d"),  # a and b have ended
        ("d<a e<b", True, 1, ""),
        ("a? b? c?", True, 0, ""),  # no id yet that a job could wait for
        ("a b c d", True, 0, "a b"),  # more than allowed, from an earlier version: none starts, lookahead as ever
    ],
)
def test_trials_at_work_never_exceed_the_concurrency(live, proven, free, leaders):
    room = room_of(state_of(live), 3, 2, proven=proven)
    assert (room.free, " ".join(leader.name for leader in room.leaders)) == (free, leaders)


def test_without_lookahead_nothing_waits_in_the_queue():
    assert room_of(state_of("a b c"), 3, 0, proven=True).total == 0


def test_lookahead_beyond_the_concurrency_makes_chains():
    room = room_of(state_of("a b<a"), 1, 3, proven=True)
    assert [leader.name for leader in room.leaders] == ["b"]


@pytest.mark.parametrize(
    ("jobs", "limit", "expected"),
    [
        ("a", 10, "a"),
        ("a b c", 1, "a b c"),
        ("a b c", 10, "w0[0] w0[1] w0[2]"),
        ("a b c d e", 2, "w0[0] w0[1] w2[0] w2[1] e"),
        ("", 10, ""),
    ],
)
def test_jobs_that_are_submitted_together_are_elements_of_arrays(jobs, limit, expected):
    assert in_arrays(jobs.split(), limit, lambda start: f"w{start}") == expected.split()
