"""State of a campaign: the fold over its journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import AttemptKey
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import (
    AttemptId,
    Cancelling,
    Finished,
    JobRecord,
    Missing,
    Opened,
    Paused,
    Resumed,
    Stopped,
    Submitted,
)
from aiperf_orch.util.errors import RecordError


@pytest.fixture
def made(campaign: Callable[..., Any]) -> Any:
    return campaign()


def _state(made: Any) -> CampaignState:
    return CampaignState.of(read_journal(made.directory.journal))


def test_a_new_campaign(made: Any) -> None:
    state = _state(made)
    assert (state.phase, state.trials, state.first_begin, state.deadline(60)) == (Phase.RUNNING, {}, None, None)
    assert state.settings_sha256 == made.directory.settings_sha256


def test_the_life_of_an_attempt(made: Any) -> None:
    made.submit()
    made.submit(1)
    assert list(_state(made).live) == [(0, 1), (1, 1)]
    made.began(3, 1)
    made.began(2)
    state = _state(made)
    assert state.first_begin == made.at(2)
    assert state.deadline(60) == made.at(62)
    made.ended(epochs=2, ops=440, best_error=0.25, best_epoch=1, last_end=made.at(9))
    state = _state(made)
    assert list(state.live) == [(1, 1)]
    assert (state.trials_ended, state.operations, state.best_error, state.last_end) == (1, 440, 0.25, made.at(9))
    assert state.trials[0].end is not None
    assert state.any_epoch


def test_the_first_begin_counts_from_the_earliest_clock(made: Any) -> None:
    made.trial(0, [], at=5)
    made.trial(1, [], at=4)
    assert _state(made).first_begin == made.at(4)


def test_an_attempt_is_certain_once_its_job_is_known(made: Any) -> None:
    made.submit()
    attempt = _state(made).live[AttemptKey(0, 1)]
    assert (attempt.job, attempt.is_uncertain) == ("123", False)
    made.write(Missing, attempts=[AttemptId(trial=0, attempt=1)])
    assert _state(made).live[AttemptKey(0, 1)].is_uncertain
    made.began()
    assert not _state(made).live[AttemptKey(0, 1)].is_uncertain
    made.write(Cancelling, attempts=[AttemptId(trial=0, attempt=1)], reason=EndReason.STOPPED)
    attempt = _state(made).live[AttemptKey(0, 1)]
    assert (attempt.is_uncertain, attempt.cancelling) == (True, EndReason.STOPPED)


def test_a_job_that_is_found_again_is_not_missing(made: Any) -> None:
    made.submit()
    made.write(Missing, attempts=[AttemptId(trial=0, attempt=1)])
    made.write(Submitted, jobs=[JobRecord(trial=0, attempt=1, job="124")])
    attempt = _state(made).live[AttemptKey(0, 1)]
    assert (attempt.job, attempt.missing_since, attempt.is_uncertain) == ("124", None, False)


def test_resuming_voids_cancellations_that_ended_no_attempt(made: Any) -> None:
    for trial in range(3):
        made.submit(trial)
    cancelled = [AttemptId(trial=trial, attempt=1) for trial in (0, 1)]
    made.write(Cancelling, attempts=cancelled, reason=EndReason.STOPPED)
    made.ended(1, reason="STOPPED")
    made.write(Stopped)
    state = _state(made)
    first, last = state.live[AttemptKey(0, 1)], state.live[AttemptKey(2, 1)]
    assert (first.cancelling, last.cancelling) == (EndReason.STOPPED, None)
    assert first.cancelling_since is not None
    made.write(Resumed)
    state = _state(made)
    assert list(state.live) == [(0, 1), (2, 1)]
    for attempt in state.live.values():
        assert (attempt.cancelling, attempt.cancelling_since, attempt.is_uncertain) == (None, None, False)
    assert state.trials[1].attempts[0].end is not None  # one that ended stays ended
    assert state.trials[1].attempts[0].end.reason is EndReason.STOPPED
    made.write(Cancelling, attempts=[AttemptId(trial=0, attempt=1)], reason=EndReason.HUNG)
    assert _state(made).live[AttemptKey(0, 1)].cancelling is EndReason.HUNG


def _failed(made: Any, trial: int, attempt: int, host: str, reason: str = "TRIAL_ERROR") -> dict[str, set[int]]:
    """Trials that failed, by node, after one more end."""
    made.submit(trial, attempt)
    made.ended(trial, attempt, reason=reason, hosts=[host], final=attempt == 3)
    return {node: trials for node, trials in _state(made).node_failures.trials.items() if trials}


def test_a_trial_that_fails_on_all_nodes_counts_for_none(made: Any) -> None:
    assert _failed(made, 0, 1, "n1") == {"n1": {0}}
    assert _failed(made, 0, 2, "n2") == {}
    assert _failed(made, 0, 3, "n3") == {}
    assert _failed(made, 1, 1, "n1") == {"n1": {1}}
    assert _failed(made, 1, 2, "n1") == {"n1": {1}}  # on no other node yet: one trial, any number of times


def test_failures_on_one_node_count_until_a_success_there(made: Any) -> None:
    _failed(made, 0, 1, "n1")
    _failed(made, 0, 2, "n2", "COMPLETED")
    assert _failed(made, 1, 1, "n1", "LOST") == {"n1": {0, 1}}
    assert _failed(made, 2, 1, "n1", "TIME_LIMIT") == {"n1": {0, 1}}
    assert _failed(made, 3, 1, "n1", "COMPLETED") == {}


def test_a_begin_that_only_an_end_records_counts(made: Any) -> None:
    made.submit()
    made.ended(reason="TRIAL_ERROR", first_begin=made.at(7))  # over before the controller read its events
    assert _state(made).first_begin == made.at(7)
    made.submit(1)
    made.ended(1, first_begin=made.at(5))
    assert _state(made).first_begin == made.at(5)
    made.submit(2)
    made.began(6, 2)
    made.ended(2, first_begin=made.at(6))
    made.submit(3)
    made.ended(3)  # it never began
    assert _state(made).first_begin == made.at(5)
    assert _state(made).deadline(60) == made.at(65)


def test_a_trial_that_is_not_over_waits_for_its_next_attempt(made: Any) -> None:
    made.submit()
    made.ended(reason="LOST", final=False)
    state = _state(made)
    assert list(state.retries) == [0]
    assert state.trials_ended == 0
    made.submit(attempt=2)
    state = _state(made)
    assert (list(state.retries), list(state.live), len(state.trials[0].attempts)) == ([], [(0, 2)], 2)


def test_equal_failures_in_a_row_are_counted(made: Any) -> None:
    counts = []
    for trial, reason in enumerate(
        ["TRIAL_ERROR", "TRIAL_ERROR", "CANCELLED", "TRIAL_ERROR", "OUT_OF_MEMORY", "COMPLETED", "OUT_OF_MEMORY"]
    ):
        made.submit(trial)
        made.ended(trial, reason=reason)
        counts.append(_state(made).failure_streak.count)
    assert counts == [1, 2, 2, 3, 1, 0, 1]


def test_failures_are_counted_and_the_best_trial_is_named(made: Any) -> None:
    ends = [("COMPLETED", 0.3), ("TRIAL_ERROR", 0.2), ("STOPPED", 0.2), ("LOST", None), ("EARLY_STOPPED", 0.25)]
    for trial, (reason, error) in enumerate(ends):
        made.submit(trial)
        made.ended(trial, reason=reason, best_error=error, best_epoch=error and 1, last_end=error and made.at(5))
    state = _state(made)
    assert (state.failures, state.best_error, state.best_trial) == (2, 0.2, 1)


def test_phases_follow_each_other(made: Any) -> None:
    made.write(Opened, host="n1", pid=3)
    phases = []
    for kind, fields in (
        (Paused, {"reason": "why"}),
        (Resumed, {}),
        (Stopped, {}),
        (Resumed, {}),
        (Finished, {"reason": "x", "by_deadline": False}),
    ):
        made.write(kind, **fields)
        state = _state(made)
        phases.append((state.phase.value, state.phase_reason))
    assert phases == [
        ("paused", "why"),
        ("running", ""),
        ("stopped", "stopped by the user"),
        ("running", ""),
        ("finished", "x"),
    ]


@pytest.mark.parametrize("write", ["began", "ended", "submitted", "second attempt"])
def test_an_entry_about_an_unknown_attempt_is_refused(made: Any, write: str) -> None:
    match write:
        case "began":
            made.began()
        case "ended":
            made.ended()
        case "submitted":
            made.write(Submitted, jobs=[JobRecord(trial=0, attempt=1, job="1")])
        case _:
            made.submit(attempt=2)
    unknown = r"journal.jsonl:2: \w+: names trial 0(, attempt 1)?, which the lines before it do not know"
    with pytest.raises(RecordError, match=unknown):
        _state(made)


def test_an_attempt_ends_once(made: Any) -> None:
    made.submit()
    made.ended()
    made.ended()
    with pytest.raises(RecordError, match="ended: names trial 0, attempt 1"):
        _state(made)
