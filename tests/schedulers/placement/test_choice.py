"""Choice of agents: which slot, who waits where, and never more at work than the campaign's concurrency."""

import math

import pytest

from aiperf_orch.schedulers.placement.choice import Chooser, Team, count_places, form_teams, natural_order

pytestmark = pytest.mark.unit


def teams(text, left=None):
    """Teams from `n1=placed/limit/slots`, of hosts with these names."""
    found = []
    for part in text.split():
        host, _, numbers = part.partition("=")
        number, limit, slots = map(int, numbers.split("/"))
        found.append(Team((f"{host}.1",), (host,), slots, number, limit, (left or {}).get(host, math.inf)))
    return found


def chosen(text, number=1, *, concurrency=99, busy=0, lookahead=1, exclude=(), left=None):
    """Hosts and limits that this number of attempts get one after another."""
    chooser = Chooser(teams(text, left), concurrency=concurrency, busy=busy, lookahead=lookahead)
    choices = [chooser.choose(exclude) for _ in range(number)]
    return " ".join(f"{each.team.hosts[0]}:{each.at_once}" if each else "-" for each in choices)


@pytest.mark.parametrize(
    ("state", "number", "expected"),
    [
        ("n1=0/0/2 n2=0/0/2", 4, "n1:1 n2:1 n1:2 n2:2"),  # spread
        ("n1=0/0/4 n2=0/0/2", 6, "n1:1 n2:1 n1:2 n1:3 n2:2 n1:4"),  # in proportion to their slots
        ("n1=2/2/2 n2=0/0/2", 2, "n2:1 n2:2"),
        ("n1=2/2/2 n2=1/2/2", 2, "n2:2 n1:2"),  # free slots first, then one waits
        ("n1=1/1/1 n2=1/1/1", 3, "n1:1 n2:1 -"),  # one waits on each
        ("n1=1/1/1 n2=4/4/4", 1, "n2:4"),  # of more slots one is free sooner
        ("", 1, "-"),
    ],
)
def test_free_slots_come_first_and_then_attempts_wait(state, number, expected):
    assert chosen(state, number) == expected


@pytest.mark.parametrize(
    ("state", "concurrency", "busy", "number", "expected"),
    [
        ("n1=0/0/4 n2=0/0/4", 3, 0, 5, "n1:1 n2:1 n1:2 n1:2 n2:1"),
        ("n1=0/0/4", 3, 1, 4, "n1:1 n1:2 n1:2 -"),
        ("n1=0/0/4 n2=3/3/4", 3, 0, 2, "n2:3 -"),  # nothing ends on n1: no attempt waits there
        ("n1=2/2/4 n2=1/4/4", 3, 0, 2, "n1:2 n2:1"),  # the limit of n2 falls to what it may have
        ("n1=3/1/4 n2=4/4/4", 6, 0, 1, "n1:2"),  # one of those that wait may start
        ("n1=3/1/4 n2=0/0/4", 2, 0, 1, "n2:1"),  # an idle agent comes before one with others
        ("n1=3/1/4", 1, 0, 1, "-"),
        ("n1=0/0/1", 1, 1, 1, "-"),
        ("n1=0/0/1", 1, 5, 1, "-"),
    ],
)
def test_no_more_are_at_work_than_the_concurrency(state, concurrency, busy, number, expected):
    assert chosen(state, number, concurrency=concurrency, busy=busy) == expected


def test_the_allocation_that_lasts_longest_comes_first():
    assert chosen("n1=0/0/1 n2=0/0/1", 2, left={"n1": 600.0, "n2": 1200.0}) == "n2:1 n1:1"
    assert chosen("n1=1/1/1 n2=1/1/1", 2, left={"n1": 600.0}) == "n2:1 n1:1"


@pytest.mark.parametrize(("lookahead", "expected"), [(0, "-"), (1, "n1:1 -"), (2, "n1:1 n1:1 -")])
def test_lookahead_limits_how_many_wait_on_an_agent(lookahead, expected):
    assert chosen("n1=1/1/1", len(expected.split()), lookahead=lookahead) == expected


@pytest.mark.parametrize(
    ("state", "exclude", "expected"),
    [
        ("n1=0/0/1 n2=0/0/1", ["n1"], "n2:1"),
        ("n1=0/0/1 n2=1/1/1", ["n1"], "n2:1"),
        ("n1=0/0/1 n2=2/1/1", ["n1"], "n2:1"),  # it waits beyond the lookahead rather than on n1
        ("n1=0/0/1", ["n1"], "n1:1"),  # there is no other
        ("n1=0/0/1 n2=0/0/1", ["n1", "n2"], "n1:1"),
        ("n1=0/0/1 n2=0/0/1", ["n9"], "n1:1"),
    ],
)
def test_excluded_hosts_are_used_only_where_there_is_no_other(state, exclude, expected):
    assert chosen(state, exclude=exclude) == expected


def test_an_excluded_attempt_waits_elsewhere_if_no_agent_may_work():
    assert chosen("n1=1/1/1 n2=0/0/1", exclude=["n1"], concurrency=1) == "-"


@pytest.mark.parametrize(
    ("state", "concurrency", "lookahead", "expected"),
    [
        ("", 8, 1, 0),
        ("n1=0/0/4", 8, 1, 5),
        ("n1=0/0/4", 2, 1, 3),
        ("n1=0/0/4 n2=0/0/4", 1, 1, 2),
        ("n1=5/4/4", 8, 1, 0),
        ("n1=4/4/4", 8, 0, 0),
        ("n1=2/4/4", 8, 3, 5),
        ("n1=0/0/128", 128, None, 160),
        ("n1=0/0/128", 2, None, 3),  # slots beyond the concurrency hold no further ones in advance
        ("n1=0/0/128 n2=0/0/128", 16, None, 24),
    ],
)
def test_places_are_as_many_as_can_be_chosen(state, concurrency, lookahead, expected):
    known = teams(state)
    places = {"concurrency": concurrency, "busy": 0, "lookahead": lookahead}
    assert count_places(known, most=999, **places) == expected
    assert count_places(known, most=2, **places) == min(expected, 2)
    assert [team.placed for team in known] == [team.placed for team in teams(state)]  # nothing is chosen


def test_many_attempts_fill_many_agents_evenly():
    known = teams(" ".join(f"n{number}=0/0/8" for number in range(1, 101)))
    chooser = Chooser(known, concurrency=700, busy=0, lookahead=2)
    assert sum(chooser.choose() is not None for _ in range(1200)) == 900
    assert {team.at_work for team in known} == {7}
    assert {team.waiting for team in known} == {2}


def test_teams_have_agents_of_different_hosts_in_natural_order():
    idle = teams("n10=0/0/1 n2=0/0/1 n1=0/0/1 n3=0/0/1 n4=0/0/1", left={"n2": 50.0})
    idle.append(Team(("n1.2",), ("n1",), 1))
    formed = form_teams(idle, 2)
    assert [team.hosts for team in formed] == [("n1", "n2"), ("n3", "n4")]
    assert [team.seconds_left for team in formed] == [50.0, math.inf]
    assert form_teams(idle, 6) == []


def test_natural_order_compares_numbers_as_numbers():
    assert sorted(["n10", "n9", "n", "m1", "n1-b", "n1"], key=natural_order) == ["m1", "n", "n1", "n1-b", "n9", "n10"]
