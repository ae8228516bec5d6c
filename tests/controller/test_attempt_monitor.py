"""The monitor of a live attempt: how often its events are read, and what it reports once."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiperf_orch.campaign.events import RunEvents
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller import attempt_monitor
from aiperf_orch.records.base import EndReason
from aiperf_orch.util.errors import TransientError
from controller.builders import attempt_state, live_attempt

EPOCH = 600  # seconds
TICK = 5


@pytest.fixture
def polls(monkeypatch):
    """The times at which the events of the first run were polled; `polls.time` is the present."""

    class Polls(list):
        time = 1e6

    polls, poll = Polls(), RunEvents.poll

    def polled(events, *limit):
        if events.run == 0:
            polls.append(polls.time)
        return poll(events, *limit)

    monkeypatch.setattr(RunEvents, "poll", polled)
    monkeypatch.setattr(attempt_monitor, "monotonic", lambda: polls.time)
    return polls


@pytest.fixture
def monitored(campaign, polls):
    """A trial that trains its second epoch; returns it, a function that lets time pass, and its campaign."""
    made = campaign()
    made.submit()
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0))
    state = CampaignState.of(read_journal(made.directory.journal))
    (attempt,) = state.live.values()
    live = attempt_monitor.monitor_attempt(made.directory, attempt, state.trials[0])

    def go_on(seconds):
        for _ in range(seconds // TICK):
            live.poll(made.directory)
            polls.time += TICK

    return live, go_on, made


def test_a_trial_is_polled_seldom_until_its_next_epoch_is_due(monitored, polls):
    live, go_on, made = monitored
    begun = polls.time
    go_on(EPOCH + 60)
    assert len([time for time in polls if time < begun + EPOCH - 60]) <= (EPOCH - 60) / 25
    gaps = [after - before for before, after in pairwise(polls)]
    assert max(gaps) <= 35
    assert gaps[-10:] == [TICK] * 10  # overdue
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0), made.epoch(2, end=2 * EPOCH, start=EPOCH))
    go_on(TICK)
    assert len(live.epochs) == 2


def test_a_trial_that_is_being_cancelled_is_polled_every_time(monitored, polls):
    live, go_on, _ = monitored
    go_on(60)
    before = len(polls)
    live.attempt.cancelling = EndReason.STOPPED
    go_on(60)
    assert len(polls) - before == 60 / TICK


def test_begins_and_faults_are_reported_once(monitored):
    live, _, made = monitored
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0), "garbage")
    live.poll_now(made.directory)
    assert live.take_begin().run == 0
    assert live.take_begin() is None
    assert len(live.take_faults()) == 1
    assert live.take_faults() == []


def test_new_events_revoke_what_the_queue_said(monitored):
    live, _, made = monitored
    live.poll_now(made.directory)
    live.abandoned, live.note = True, "SUSPENDED"
    live.poll_now(made.directory)
    assert (live.abandoned, live.note) == (True, "SUSPENDED")  # nothing new
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0), made.epoch(2, end=2 * EPOCH, start=EPOCH))
    live.poll_now(made.directory)
    assert (live.abandoned, live.reappeared, live.note) == (False, True, "")


@pytest.mark.unit
def test_a_read_error_is_reported_once_and_read_again():
    live = live_attempt(attempt_state(), next_poll=9e9)
    for _ in range(2):
        live.defer(TransientError("file: cannot be read for now"))
    assert live.next_poll == 0.0
    assert live.end is None
    assert live.take_faults() == ["file: cannot be read for now; it is read again at each step"]
    assert live.take_faults() == []


@pytest.mark.unit
def test_an_attempt_without_an_end_line_has_no_end_reason():
    with pytest.raises(AssertionError):
        live_attempt().end_reason()
