"""How often a running trial's events are looked at, with a clock moved by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from aiperf_orch.campaign.events import RunEvents
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.controller import watch
from aiperf_orch.records import EndReason

EPOCH = 600  # seconds
TICK = 5


@pytest.fixture
def looks(monkeypatch):
    """The times at which the events of the first run were looked at; `looks.time` is the present."""

    class Looks(list):
        time = 1e6

    looks, poll = Looks(), RunEvents.poll

    def looked_at(events, *limit):
        if events.run == 0:
            looks.append(looks.time)
        return poll(events, *limit)

    monkeypatch.setattr(RunEvents, "poll", looked_at)
    monkeypatch.setattr(watch, "monotonic", lambda: looks.time)
    return looks


@pytest.fixture
def watched(campaign, looks):
    """A trial that trains its second epoch."""
    made = campaign()
    made.submit()
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0))
    state = CampaignState.of(read_journal(made.directory.journal))
    (attempt,) = state.live.values()
    watched = watch.watch(made.directory, attempt, state.trials[0])

    def go_on(seconds):
        for _ in range(seconds // TICK):
            watched.poll(made.directory)
            looks.time += TICK

    return watched, go_on, made


def test_a_trial_is_looked_at_seldom_until_its_next_epoch_is_due_and_then_often(watched, looks):
    trial, go_on, made = watched
    begun = looks.time
    go_on(EPOCH + 60)
    assert len([look for look in looks if look < begun + EPOCH - 60]) <= (EPOCH - 60) / 25
    gaps = [after - before for before, after in pairwise(looks)]
    assert max(gaps) <= 35
    assert gaps[-10:] == [TICK] * 10  # overdue
    made.events(made.begin(), made.epoch(1, end=EPOCH, start=0), made.epoch(2, end=2 * EPOCH, start=EPOCH))
    go_on(TICK)
    assert len(trial.epochs) == 2


def test_a_trial_that_was_told_to_end_is_looked_at_every_time(watched, looks):
    trial, go_on, _ = watched
    go_on(60)
    before = len(looks)
    trial.attempt.cancelling = EndReason.STOPPED
    go_on(60)
    assert len(looks) - before == 60 / TICK


def test_the_last_word_of_a_log_is_not_its_launchers(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "epoch 1\nbash: exec: /no/such/python: No such file\nsrun: error: n1: task 0: Exited\nslurmstepd-n1: x\n\n"
    )
    assert watch.last_line(tmp_path / "none", log) == f"{log} ends: bash: exec: /no/such/python: No such file"
    log.write_text("srun: error: only this\n")
    assert watch.last_line(log) == f"{log} ends: srun: error: only this"
    assert watch.last_line(tmp_path / "none") == ""
    log.write_text(
        "epoch 1\nsubprocess.CalledProcessError: Command '['python', 'x']' died with <Signals.SIGKILL: 9>.\n\n"
        "Traceback (most recent call last):\n  raise FailedJobError(stderr)\nsubmitit.core.utils.FailedJobError\n"
    )
    assert watch.last_line(log) == f"{log} ends: the trial's process died with <Signals.SIGKILL: 9>."
