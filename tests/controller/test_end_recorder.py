"""What follows from the end of an attempt: for the search, the weights, the nodes, and the phase of the campaign."""

from types import SimpleNamespace

import pytest

from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.controller import end_recorder
from aiperf_orch.controller.end_recorder import AttemptOutcome, EndRecorder
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Ended, Finished, Paused
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import TransientError
from controller.builders import NOW, PROPOSAL, attempt_state, end_of, live_attempt, trial_state

pytestmark = pytest.mark.unit

SETTINGS = SiteSettings.model_validate(
    {"scheduler": {}, "campaign": {"duration": "1h", "max_attempts": 2}, "training": {"trainer": "simulated"}}
)


class Campaign:
    """A campaign that keeps what is appended to its journal, and applies nothing of it."""

    def __init__(self):
        self.directory = SimpleNamespace(settings=SETTINGS)
        self.state, self.entries = CampaignState(), ["an entry of an earlier controller"]

    def append(self, kind, **fields):
        self.entries.append((kind, fields))
        return self.entries[-1]


class Scheduler:
    avoids_nodes = True

    def __init__(self):
        self.released, self.places = [], None

    def free_places(self):
        return self.places

    def release_resources(self, names):
        self.released += names


class Weights:
    """What is kept of the trials."""

    def __init__(self, directory, ended):
        self.ended, self.kept = list(ended), None

    def end_trials(self, trials):
        self.ended += trials

    def keep_only(self, wanted):
        self.kept = wanted


class Search:
    parents = frozenset({40})

    def __init__(self, directory, entries):
        self.entries = list(entries)

    def feed(self, entry):
        self.entries.append(entry)


@pytest.fixture(autouse=True)
def _parts(monkeypatch):
    monkeypatch.setattr(end_recorder, "WeightRetention", Weights)
    monkeypatch.setattr(end_recorder, "SearchAdapter", Search)
    monkeypatch.setattr(end_recorder, "pause_reason", lambda *failures, proven: None)


@pytest.fixture
def journal():
    return Campaign()


@pytest.fixture
def scheduler():
    return Scheduler()


@pytest.fixture
def recorder(journal, scheduler, warnings):
    return EndRecorder(journal, scheduler, warnings.append)


def add(recorder, trial, attempt=1, **fields):
    """A live attempt of the recorder, whose trial has the parent 10, 11 ..."""
    state = attempt_state(trial, attempt, **fields)
    live = live_attempt(state)
    attempts = [attempt_state(trial, number, reason="LOST") for number in range(1, attempt)]
    live.trial = trial_state(trial, [*attempts, state])
    live.trial.proposal = PROPOSAL.model_copy(update={"parent": 10 + trial})
    recorder.live_attempts[live.key] = live
    return live


def outcome(live, reason="LOST"):
    return AttemptOutcome(live, EndReason(reason), "its message", ["n1"])


def test_a_begin_proves_agents_and_an_epoch_proves_a_queue(recorder, journal, scheduler):
    assert not recorder.site_works
    journal.state.first_begin = NOW
    assert not recorder.site_works
    scheduler.places = 0
    assert recorder.site_works
    assert not recorder.proven  # for a pause, an epoch counts in any case
    journal.state.first_begin, journal.state.any_epoch = None, True
    assert recorder.site_works


def test_without_a_readable_attempt_nothing_is_recorded(recorder, journal):
    live = add(recorder, 0)
    live.read_error = TransientError("stale")
    assert recorder.record([]) is False
    assert recorder.record([outcome(live)]) is False
    assert len(journal.entries) == 1
    assert list(recorder.live_attempts.values()) == [live]


def test_readable_ends_are_recorded_and_the_others_stay_live(recorder, journal, scheduler):
    lives = [add(recorder, trial) for trial in range(3)]
    lives[1].read_error = TransientError("stale")
    assert recorder.record(map(outcome, lives)) is True
    ((kind, fields),) = journal.entries[1:]
    ends = [(end.trial, end.attempt, end.reason.value, end.message, end.hosts) for end in fields["attempts"]]
    assert (kind, ends) == (Ended, [(0, 1, "LOST", "its message", ["n1"]), (2, 1, "LOST", "its message", ["n1"])])
    assert list(recorder.live_attempts.values()) == [lives[1]]
    assert scheduler.released == [lives[0].name, lives[2].name]


def test_each_end_reaches_the_search_once(recorder, journal):
    recorder.record([outcome(add(recorder, 0))])
    search = recorder.get_search()  # replayed from the journal, which has the first end
    recorder.record([outcome(add(recorder, 1))])
    assert search is recorder.get_search()
    assert search.entries == journal.entries


def test_checkpoints_of_final_ends_and_weights_without_heirs_are_deleted(journal, scheduler, warnings):
    over, best = trial_state(30), trial_state(29)
    over.end = end_of("COMPLETED", 30, best_error=0.2, best_epoch=1)
    best.end = end_of("COMPLETED", 29, best_error=0.1, best_epoch=2)
    journal.state.trials = {29: best, 30: over, 31: trial_state(31)}
    recorder = EndRecorder(journal, scheduler, warnings.append)
    journal.state.retries = {35: add(recorder, 35).trial}
    recorder.live_attempts.clear()
    lives = [add(recorder, 0), add(recorder, 1, attempt=2), add(recorder, 2, attempt=2)]
    recorder.record(map(outcome, lives[:2]))
    assert recorder._weights.ended == [29, 30, 1]  # the first attempt of trial 0 is followed by another
    # parents by the search, of a due retry, of a live attempt; the trial with the lowest error
    assert recorder._weights.kept == {40, 45, 12, 29}


@pytest.mark.parametrize(
    ("earlier", "reason", "avoids_nodes", "expected"),
    [
        pytest.param(1, "TRIAL_ERROR", True, ["node n1: 2 trials failed on it: no further trial gets it"], id="second"),
        pytest.param(0, "TRIAL_ERROR", True, [], id="first"),
        pytest.param(2, "TRIAL_ERROR", True, [], id="third, which ran when the second one ended"),
        pytest.param(1, "TRIAL_ERROR", False, [], id="the scheduler cannot avoid nodes"),
        pytest.param(1, "COMPLETED", True, [], id="a success"),
    ],
)
def test_a_node_is_reported_when_trials_stop_getting_it(
    recorder, journal, scheduler, warnings, earlier, reason, avoids_nodes, expected
):
    scheduler.avoids_nodes = avoids_nodes
    journal.state.node_failures.trials = {"n1": set(range(1 + earlier))}  # as the journal's entry leaves it
    recorder.record([outcome(add(recorder, 0), reason)])
    assert warnings == expected


@pytest.mark.parametrize(
    ("phase", "reason", "paused"),
    [
        (Phase.RUNNING, "trial 0 failed", True),
        (Phase.RUNNING, None, False),
        (Phase.PAUSED, "trial 0 failed", False),
        (Phase.STOPPED, "trial 0 failed", False),
    ],
)
def test_the_failure_policy_pauses_a_running_campaign(recorder, journal, monkeypatch, phase, reason, paused):
    asked = []

    def pause_reason(records, trials, streak, limit, *, proven):
        asked.append(([record.trial for record in records], trials, streak, limit, proven))
        return reason

    monkeypatch.setattr(end_recorder, "pause_reason", pause_reason)
    state = journal.state
    state.phase = phase
    recorder.record([outcome(add(recorder, 0))])
    assert journal.entries[2:] == ([(Paused, {"reason": reason})] if paused else [])
    limit = SETTINGS.campaign.pause_after_failures
    assert asked == ([([0], state.trials, state.failure_streak, limit, False)] if phase is Phase.RUNNING else [])


@pytest.mark.parametrize(
    ("ended", "live", "proven"), [(False, False, False), (True, False, True), (False, True, True), (True, True, True)]
)
def test_the_first_epoch_proves_the_site(recorder, journal, ended, live, proven):
    journal.state.any_epoch = ended
    add(recorder, 0)
    add(recorder, 1).epochs = ["an epoch"] if live else []
    assert recorder.proven is proven


@pytest.mark.parametrize("fields", [{}, {"by_deadline": True}])
def test_a_finished_campaign_needs_no_checkpoints_of_due_attempts(recorder, journal, fields):
    journal.state.retries = {3: trial_state(3)}
    recorder.finish("its trials have ended", **fields)
    expected = {"reason": "its trials have ended", "by_deadline": False} | fields
    assert journal.entries[1:] == [(Finished, expected)]
    assert recorder._weights.ended == [3]
