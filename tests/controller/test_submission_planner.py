"""Planning of submissions: table tests of free slots, planned attempts and names of jobs."""

from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller import submission_planner
from aiperf_orch.controller.submission_planner import FreeSlots, SubmissionPlanner, array_names, free_slots
from aiperf_orch.util.errors import NetworkError
from controller.builders import PROPOSAL, attempt_state, end_of, trial_state

pytestmark = pytest.mark.unit


def state_of(live):
    """A state whose live attempts are written `name[?][<leader]`: a question mark where the job's id is not known."""
    state = CampaignState()
    for trial, text in enumerate(live.split()):
        name, _, leader = text.partition("<")
        job = None if name.endswith("?") else str(trial)
        attempt = attempt_state(trial, job=job, after=leader or None)
        attempt.name = name.rstrip("?")
        state.live[attempt.key] = attempt
    return state


@pytest.mark.parametrize(
    ("live", "proven", "at_once", "leaders"),
    [
        ("", False, 1, ""),  # the first trial
        ("a", False, 0, ""),  # nothing follows a first trial that has completed no epoch
        ("a", True, 2, ""),  # what can start at once comes before what must wait
        ("a b<a", True, 2, ""),  # b waits for a, and takes no slot
        ("a b c", True, 0, "a b"),
        ("a b c d<a", True, 0, "b"),
        ("a b c d<a e<b", True, 0, ""),
        ("b c d<a e<b", True, 0, "c"),  # a has ended: d is at work
        ("c d<a e<b", True, 0, "c d"),  # a and b have ended
        ("d<a c e<b", True, 0, "d c"),  # the leaders are listed in the order of their submission
        ("a b d<a c", True, 0, "b"),
        ("d<a e<b", True, 1, ""),
        ("a? b? c?", True, 0, ""),  # no id yet that a job could wait for
        ("a b c d", True, 0, ""),  # more than allowed, as the concurrency was lowered: none starts, and none follows
    ],
)
def test_trials_at_work_never_exceed_the_concurrency(live, proven, at_once, leaders):
    slots = free_slots(state_of(live), 3, 2, proven=proven)
    assert (slots.at_once, " ".join(leader.name for leader in slots.leaders)) == (at_once, leaders)


@pytest.mark.parametrize(
    ("live", "proven", "places", "at_once"),
    [
        ("", False, 0, 0),  # no agent has joined
        ("", False, 5, 1),  # the first trial
        ("a", False, 5, 0),
        ("a", True, 5, 5),  # the scheduler counts what it has, the concurrency included
        ("a b c d e f g", True, 0, 0),
    ],
)
def test_a_scheduler_that_counts_places_gets_as_many_attempts(live, proven, places, at_once):
    slots = free_slots(state_of(live), 3, 2, proven=proven, places=places)
    assert (slots.at_once, slots.leaders) == (at_once, ())


def test_without_lookahead_no_job_waits_in_the_queue():
    assert free_slots(state_of("a b c"), 3, 0, proven=True).total == 0


def test_lookahead_beyond_the_concurrency_makes_chains():
    slots = free_slots(state_of("a b<a"), 1, 3, proven=True)
    assert [leader.name for leader in slots.leaders] == ["b"]


def test_those_at_work_lead_before_those_that_wait():
    state = state_of("b<a a")
    assert [leader.name for leader in free_slots(state, 1, 2, proven=True).leaders] == ["b"]
    state = state_of("b<a a c")
    assert [leader.name for leader in free_slots(state, 2, 3, proven=True).leaders] == ["c", "b"]


@pytest.mark.parametrize(
    ("jobs", "limit", "expected"),
    [
        ("a", 10, "a"),
        ("a b c", 1, "a b c"),
        ("a b c", 2, "wa[0] wa[1] c"),
        ("a b c", 10, "wa[0] wa[1] wa[2]"),
        ("a b c d e", 2, "wa[0] wa[1] wc[0] wc[1] e"),
        ("", 10, ""),
    ],
)
def test_jobs_submitted_together_are_elements_of_arrays(jobs, limit, expected):
    assert array_names(jobs.split(), limit, [f"w{job}" for job in jobs.split()]) == expected.split()


class Directory:
    """A campaign directory that writes nothing."""

    def __init__(self, max_trials=None, concurrency=4):
        self.settings = SimpleNamespace(
            campaign=SimpleNamespace(max_trials=max_trials, concurrency=concurrency),
        )

    def attempt_name(self, trial, attempt):
        return f"t{trial}-{attempt}"

    def array_name(self, first):
        return f"wave{first}"

    def write_spec(self, spec):
        return f"{spec:064x}"


class Search:
    """A search with a number of networks left."""

    def __init__(self, left=99):
        self.left, self.proposed = left, []

    def propose(self, trial, state):
        if not self.left:
            raise NetworkError("no network left")
        self.left -= 1
        self.proposed.append(trial)
        return trial, PROPOSAL


@pytest.fixture
def search():
    return Search()


def planned(records):
    """Attempts as `name` or `name<leader`."""
    return " ".join(record.name + (f"<{record.after}" if record.after else "") for record in records)


def planner_of(search, **settings):
    return SubmissionPlanner(Directory(**settings), 0, lambda: search)


def failed(state, trial, host=None):
    """Add a trial whose first attempt failed, and whose next one is due."""
    hosts = [host] if host else []
    found = trial_state(trial, [attempt_state(trial, reason="LOST", hosts=hosts)])
    state.trials[trial] = state.retries[trial] = found


@pytest.mark.parametrize(
    ("retries", "slots", "array_limit", "expected"),
    [
        pytest.param("", 1, 10, "t5-1", id="one new trial"),
        pytest.param("", 3, 10, "wave5[0] wave5[1] wave5[2]", id="an array of new trials"),
        pytest.param("", 3, 1, "t5-1 t6-1 t7-1", id="without arrays"),
        pytest.param("3", 1, 10, "t3-2", id="a retry before a new trial"),
        pytest.param("4 3", 3, 10, "t3-2[0] t3-2[1] t5-1", id="retries by the number of their trials"),
        pytest.param("4:n1 3:n2", 3, 10, "t3-2 t4-2 t5-1", id="retries that exclude different nodes are no array"),
        pytest.param("4:n1 2:n2 3:n1", 3, 10, "t2-2 t3-2[0] t3-2[1]", id="those that exclude the same are one"),
        pytest.param("2 3 4", 2, 10, "t2-2[0] t2-2[1]", id="no more than there are slots"),
        pytest.param("", 0, 10, "", id="no free slot"),
    ],
)
def test_retries_come_before_new_trials(search, retries, slots, array_limit, expected):
    state = CampaignState(trials={trial: trial_state(trial) for trial in range(5)})
    for text in retries.split():
        trial, _, host = text.partition(":")
        failed(state, int(trial), host)
    records, over = planner_of(search).plan(state, FreeSlots(slots, ()), array_limit)
    assert (planned(records), over) == (expected, None)


def test_the_first_attempt_carries_its_proposal_and_a_retry_does_not(search):
    state = CampaignState()
    failed(state, 0)
    retry, first = planner_of(search).plan(state, FreeSlots(2, ()), 1)[0]
    assert (retry.trial, retry.attempt, retry.proposal, retry.spec_sha256) == (0, 2, None, "0" * 64)
    assert (first.trial, first.attempt, first.proposal, first.spec_sha256) == (1, 1, PROPOSAL, f"{1:064x}")


def test_attempts_beyond_the_slots_wait_for_a_leader_each(search):
    state = CampaignState()
    failed(state, 0)
    leaders = [attempt_state(8), attempt_state(9)]
    records, _ = planner_of(search).plan(state, FreeSlots(1, leaders), 10)
    assert planned(records) == f"t0-2 t1-1<{leaders[0].name} t2-1<{leaders[1].name}"


def test_a_retry_may_wait_for_a_leader(search):
    state, leader = CampaignState(), attempt_state(8)
    failed(state, 0)
    records, _ = planner_of(search).plan(state, FreeSlots(0, [leader]), 10)
    assert planned(records) == f"t0-2<{leader.name}"


@pytest.mark.parametrize("ends", [0, 1, 2, 3])
def test_a_new_planner_asks_the_search(search, ends):
    state = CampaignState(ends=[end_of("COMPLETED") for _ in range(ends)])
    assert planned(planner_of(search, max_trials=9).plan(state, FreeSlots(1, ()), 1)[0]) == "t0-1"


@pytest.mark.parametrize(
    ("trials", "max_trials", "expected"),
    [(0, 2, "t0-1 t1-1"), (1, 2, "t1-1"), (2, 2, ""), (3, 2, "")],
)
def test_no_more_trials_than_max_trials(search, trials, max_trials, expected):
    state = CampaignState(trials={trial: trial_state(trial) for trial in range(trials)})
    attempt = attempt_state()
    state.live[attempt.key] = attempt
    records, over = planner_of(search, max_trials=max_trials).plan(state, FreeSlots(3, ()), 1)
    assert (planned(records), over) == (expected, None)


def test_the_campaign_is_over_once_its_last_trial_has_ended(search):
    state, planner = CampaignState(trials={0: trial_state(0)}), planner_of(search, max_trials=1)
    attempt = attempt_state()
    state.live[attempt.key] = attempt
    assert planner.plan(state, FreeSlots(0, ()), 1) == ([], None)
    state.live.clear()
    assert planner.plan(state, FreeSlots(1, ()), 1) == ([], "its 1 trials have ended")
    failed(state, 0)
    records, over = planner.plan(state, FreeSlots(1, ()), 1)
    assert (planned(records), over) == ("t0-2", None)


def test_an_exhausted_search_is_asked_again_after_the_next_end():
    search = Search(left=1)
    state, planner = CampaignState(), planner_of(search)
    attempt = attempt_state()
    state.live[attempt.key] = attempt
    records, over = planner.plan(state, FreeSlots(3, ()), 1)
    assert (planned(records), over) == ("t0-1", None)
    search.left = 99
    assert planner.plan(state, FreeSlots(3, ()), 1) == ([], None)
    state.ends.append(end_of("COMPLETED"))
    assert planned(planner.plan(state, FreeSlots(1, ()), 1)[0]) == "t0-1"


def test_an_exhausted_search_ends_a_campaign_without_live_attempts():
    records, over = planner_of(Search(left=0)).plan(CampaignState(), FreeSlots(1, ()), 1)
    assert (records, over) == ([], "the search proposes nothing more: no network left")


@pytest.mark.parametrize(("left", "live", "expected"), [(1, False, "t0-1"), (1, True, "t0-1"), (0, True, "")])
def test_an_exhausted_search_ends_no_campaign_with_attempts(left, live, expected):
    state, attempt = CampaignState(), attempt_state()
    if live:
        state.live[attempt.key] = attempt
    records, over = planner_of(Search(left)).plan(state, FreeSlots(2, ()), 1)
    assert (planned(records), over) == (expected, None)


def test_the_planner_takes_concurrency_and_lookahead_from_its_campaign(monkeypatch):
    planner = SubmissionPlanner(Directory(concurrency=2), 1, Search)
    assert planner.free_slots(state_of("a"), proven=True).at_once == 1
    assert [leader.name for leader in planner.free_slots(state_of("a b"), proven=True).leaders] == ["a"]
    assert submission_planner.FreeSlots(1, ["a"]).total == 2
