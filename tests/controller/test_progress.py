"""The progress of a running campaign is what its score would be now."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.commands.live_view import picture, summary_lines
from aiperf_orch.commands.status import show_status
from aiperf_orch.controller.attempt_monitor import monitor_attempt
from aiperf_orch.controller.progress import progress_of
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Finished
from aiperf_orch.results.result import compute_result


@pytest.fixture
def follow():
    """What a controller of a hand-made campaign has in memory, as far as displays read it."""

    def controller(made) -> Any:
        state = CampaignState.of(read_journal(made.directory.journal))
        live = {
            key: monitor_attempt(made.directory, each, state.trials[each.trial]) for key, each in state.live.items()
        }
        for each in live.values():
            each.poll(made.directory)
        settings = made.directory.settings
        deadline = state.deadline(settings.campaign.duration)
        return SimpleNamespace(state=state, live_attempts=live, deadline=deadline, settings=settings)

    return controller


def _lost(made, trial, ends, attempt=1, at=0):
    """An attempt that was lost after epochs of these ends and errors, and is to be tried again."""
    made.submit(trial, attempt)
    epochs = [made.epoch(number, end, error, trial, attempt) for number, (end, error) in enumerate(ends, start=1)]
    made.events(made.begin(at, trial, attempt), *epochs, trial=trial, attempt=attempt)
    made.began(at, trial, attempt)
    best = min(((error, number) for number, (_, error) in enumerate(ends, start=1)), default=(None, None))
    last = made.at(ends[-1][0]) if ends else None
    made.ended(
        trial, attempt, reason="LOST", final=False, epochs=len(ends), ops=220 * len(ends),
        best_error=best[0], best_epoch=best[1], last_end=last,
    )  # fmt: skip


def _check(follow, made, epochs):
    controller = follow(made)
    score, progress = compute_result(made.directory).score, progress_of(controller)
    assert score.epochs == epochs
    assert progress.ops == pytest.approx(score.score, rel=1e-12)
    assert progress.best_error == score.error
    assert (progress.best_trial is None) == (score.error is None)
    return controller


def test_epochs_of_a_trial_whose_next_attempt_is_due_count(follow, campaign):
    made = campaign()
    _lost(made, 0, [(2, 0.5), (8, 0.2)])
    controller = _check(follow, made, epochs=2)
    heading = "\n".join(summary_lines(controller))
    assert "best error 20.00%" in heading
    assert "55 OPS" in heading
    assert "0 running, 1 to be retried, 0 ended" in heading
    shown = show_status(made.path, "table").text
    assert "best error 20.00%" in shown
    assert "trials     1 RETRY\n" in shown


def test_epochs_of_attempts_before_one_that_has_not_begun_count(follow, campaign):
    made = campaign()
    _lost(made, 0, [(2, 0.5), (8, 0.2)])
    made.submit(0, 2)
    controller = _check(follow, made, epochs=2)
    assert [epoch.epoch for epoch in controller.live_attempts[0, 2].epochs] == [1, 2]
    end = controller.live_attempts[0, 2].end_record(
        EndReason.SUBMIT_REFUSED, "", (), controller.settings, controller.deadline
    )
    assert (end.epochs, end.ops, end.best_error, end.progressed) == (2, 440, 0.2, False)


def test_an_epoch_counts_once_and_not_after_the_deadline(follow, campaign):
    made = campaign()
    made.trial(0, [(3, 0.4)])
    _lost(made, 1, [(10, 0.5), (20, 0.3)], at=1)
    _lost(made, 2, [(11, 0.6), (21, 0.5)], at=1)
    made.submit(2, 2)
    again = [
        made.epoch(number, end, error, 2, 2) for number, end, error in [(2, 90, 0.1), (3, 95, 0.4), (4, 3700, 0.0)]
    ]
    made.events(made.begin(80, 2, 2), *again, trial=2, attempt=2)
    made.began(80, 2, 2)
    made.submit(3)
    made.events(made.begin(5, 3), made.epoch(1, 30, 0.3, 3), made.epoch(2, 3601, 0.0, 3), trial=3)
    made.began(5, 3)
    controller = _check(follow, made, epochs=1 + 2 + 3 + 1)
    assert progress_of(controller).best_trial == 1
    shown = show_status(made.path, "table").text
    assert "best error 30.00%, trial 1\n" in shown
    assert "failed     2 of 5 attempts: " in shown


def test_before_any_epoch_there_is_neither_rate_nor_error(follow, campaign):
    made = campaign()
    controller = _check(follow, made, epochs=0)
    assert "no error yet · 0 OPS" in "\n".join(summary_lines(controller))


def test_a_campaign_that_is_over_has_no_time_left(follow, campaign):
    made = campaign(campaign__duration="3h")
    made.trial(0, [(2, 0.5)])
    assert " left until " in summary_lines(follow(made))[0]
    made.write(Finished, reason="its 1 trials have ended", by_deadline=False)
    heading = summary_lines(follow(made))[0]
    assert " left" not in heading
    assert "finished: its 1 trials have ended" in heading


def test_the_live_view_says_why_a_trial_that_began_does_not_run(follow, campaign):
    made = campaign()
    made.submit()
    made.events(made.begin(), made.epoch(1, 2))
    made.began()
    controller = follow(made)
    live = controller.live_attempts[0, 1]
    live.note = "BeginTime: its [earliest] start lies ahead"
    [row] = picture(controller).running
    assert (row.about, row.is_halted) == ("BeginTime: its [earliest] start lies ahead", True)
    assert "0 running, 1 halted, 0 ended" in summary_lines(controller)[1]
    assert "1 halted: BeginTime: its [earliest] start lies ahead" in summary_lines(controller)
    made.events(made.begin(), made.epoch(1, 2), made.epoch(2, 4))
    live.poll_now(made.directory)
    assert live.note == ""
    assert "1 running, 0 ended" in summary_lines(controller)[1]
