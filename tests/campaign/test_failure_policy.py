"""The failure policy: table tests of what follows from an end reason."""

import pytest

from aiperf_orch.campaign import failure_policy
from aiperf_orch.campaign.failure_policy import (
    CONSEQUENCES,
    MAX_ATTEMPT_NUMBER,
    Consequence,
    FailureStreak,
    NodeFailures,
    excluded_nodes,
    is_failure,
    is_final,
    pause_reason,
)
from aiperf_orch.records.base import EndReason
from controller.builders import attempt_state, end_of, trial_state

pytestmark = pytest.mark.unit

RETRIED = [reason for reason in EndReason if CONSEQUENCES[reason] is Consequence.RETRY]


def attempts(text):
    """The attempts of a trial: `LOST` an ended one, `LOST+` one that completed a new epoch, `LOST?` one without a job.

    The last one is live. `STOPPED` did not begin, `STOPPED!` did.
    """
    found = []
    for number, word in enumerate(text.split(), start=1):
        reason = word.rstrip("+?!")
        found.append(
            attempt_state(
                attempt=number,
                job=None if "?" in word else "7",
                began="!" in word,
                reason=None if reason == "live" else reason,
                progressed="+" in word,
            )
        )
    return found


@pytest.mark.parametrize("number", [1, 2, 10])
def test_attempts_that_leave_drained_nodes_do_not_count(number):
    tried = attempts(" ".join(["PREEMPTED"] * number + ["live"]))
    assert is_final(EndReason.PREEMPTED, tried, 2, progressed=False)  # as a batch system preempts it
    for attempt in tried:
        attempt.cancelling = EndReason.PREEMPTED
    assert not is_final(EndReason.PREEMPTED, tried, 2, progressed=False)
    assert not is_final(EndReason.TRIAL_ERROR, tried, 2, progressed=False)
    assert is_final(EndReason.TRIAL_ERROR, tried, 1, progressed=False)


def test_an_attempt_that_leaves_a_drained_node_does_not_pause_an_unproven_campaign():
    end = end_of("PREEMPTED", final=False)
    trials = {0: trial_state(0, [attempt_state(reason="PREEMPTED")])}
    assert pause_reason([end], trials, FailureStreak(), 10, proven=False) is not None
    trials[0].attempts[0].cancelling = EndReason.PREEMPTED
    assert pause_reason([end], trials, FailureStreak(), 10, proven=False) is None


def test_the_policy_knows_every_end_reason():
    assert set(CONSEQUENCES) == set(EndReason)
    assert {reason.value for reason in EndReason if CONSEQUENCES[reason] is Consequence.PAUSE} == {
        "BAD_DATA",
        "SUBMIT_REFUSED",
    }
    assert {reason.value for reason in RETRIED} == {
        "HELD",
        "TIME_LIMIT",
        "NODE_FAILURE",
        "PREEMPTED",
        "LOST",
        "HUNG",
        "TRIAL_ERROR",
        "RESUBMITTED",
    }


@pytest.mark.parametrize("reason", [each for each in RETRIED if each is not EndReason.RESUBMITTED], ids=str)
@pytest.mark.parametrize("max_attempts", [1, 2, 3])
def test_a_trial_gets_exactly_max_attempts(reason, max_attempts):
    ended = []
    while not ended or not ended[-1]:
        text = " ".join([*[reason.value] * len(ended), "live"])
        ended.append(is_final(reason, attempts(text), max_attempts, progressed=False))
        assert len(ended) <= max_attempts, f"attempt {len(ended)} began: max_attempts is {max_attempts}"
    assert len(ended) == max_attempts


@pytest.mark.parametrize(
    ("earlier", "reason", "progressed", "final"),
    [
        pytest.param("live", "COMPLETED", True, True, id="a success is final"),
        pytest.param("live", "CANCELLED", False, True, id="a cancelled trial is not retried"),
        pytest.param("live", "OUT_OF_MEMORY", False, True, id="out of memory is not retried"),
        pytest.param("live", "BAD_DATA", False, True, id="bad data is not retried"),
        pytest.param("LOST live", "LOST", False, True, id="two counted attempts"),
        pytest.param("LOST? live", "LOST", False, False, id="an attempt without a job does not count"),
        pytest.param("LOST RESUBMITTED live", "LOST", False, True, id="one that is submitted again does not count"),
        pytest.param("LOST live", "RESUBMITTED", False, False, id="nor does it where it is the latest one"),
        pytest.param("RESUBMITTED live", "LOST", False, False, id="so that one more failure is permitted"),
        pytest.param("LOST live?", "LOST", False, False, id="nor does the latest one"),
        pytest.param("PREEMPTED+ live", "LOST", False, False, id="preemption with progress does not count"),
        pytest.param("TIME_LIMIT+ live", "TIME_LIMIT", True, False, id="nor does a time limit"),
        pytest.param("PREEMPTED live", "LOST", False, True, id="preemption without progress counts"),
        pytest.param("LOST live", "TIME_LIMIT", True, False, id="progress of the latest one"),
        pytest.param("LOST+ live", "LOST", True, True, id="progress does not excuse other reasons"),
        pytest.param("live", "STOPPED", False, False, id="stopped before it began"),
        pytest.param("live!", "STOPPED", False, True, id="stopped after it began"),
        pytest.param("live", "STOPPED", True, True, id="stopped after a new epoch"),
        pytest.param("STOPPED live", "LOST", False, False, id="an attempt stopped before its begin does not count"),
        pytest.param("STOPPED! live", "LOST", False, True, id="one stopped after its begin counts"),
        pytest.param("live live", "LOST", False, False, id="one without an end does not count"),
    ],
)
def test_which_attempts_count_against_the_maximum_of_two(earlier, reason, progressed, final):
    assert is_final(EndReason(reason), attempts(earlier), 2, progressed=progressed) is final


def test_attempt_numbers_have_two_digits():
    many = attempts(" ".join([*["PREEMPTED+"] * (MAX_ATTEMPT_NUMBER - 2), "live"]))
    assert not is_final(EndReason.PREEMPTED, many, 2, progressed=True)
    assert not is_final(EndReason.STOPPED, many, 2, progressed=False)
    many.append(attempt_state(attempt=MAX_ATTEMPT_NUMBER))
    assert MAX_ATTEMPT_NUMBER == 99
    assert is_final(EndReason.PREEMPTED, many, 2, progressed=True)
    assert is_final(EndReason.STOPPED, many, 2, progressed=False)


def fold(ends):
    """Node failures after `trial host reason` ends, each of a job of its own unless the job is given, too."""
    failures, trials = NodeFailures(), {}
    for number, text in enumerate(ends):
        trial, host, reason, *job = text.split()
        earlier = trials.setdefault(trial, [])
        earlier.append(
            attempt_state(
                int(trial),
                len(earlier) + 1,
                job=job[0] if job else f"job-{number}",
                reason=reason,
                hosts=[each for each in host.split("+") if each != "-"],
            )
        )
        failures.record(earlier[-1].end, [*earlier, attempt_state(int(trial), 99)])
    return failures


@pytest.mark.parametrize(
    ("ends", "excluded"),
    [
        (["0 n1 LOST"], ""),
        (["0 n1 LOST", "1 n1 LOST"], "n1"),
        (["0 n1 LOST n1.1", "1 n1 LOST n1.1"], ""),  # the loss of one agent
        (["0 n1 LOST n1.1", "1 n1 LOST n1.1", "2 n1 LOST n1.2"], "n1"),
        (["0 n1 TRIAL_ERROR n1.1", "1 n1 TRIAL_ERROR n1.1"], "n1"),
        (["0 n1 LOST", "0 n1 LOST"], ""),  # one trial, any number of times
        (["0 n1 LOST", "1 n2 LOST"], ""),
        (["0 n1+n2 NODE_FAILURE", "1 n2+n3 HUNG"], "n2"),
        (["0 n1 TIME_LIMIT", "1 n1 PREEMPTED", "2 n1 OUT_OF_MEMORY", "3 n1 CANCELLED"], ""),
        (["0 n1 LOST", "1 n1 COMPLETED", "2 n1 LOST"], ""),  # a success in between
        (["0 n1 LOST", "1 n1 EARLY_STOPPED", "2 n1 LOST"], ""),
        (["0 n1 LOST", "1 n2 COMPLETED", "2 n1 LOST"], "n1"),
        (["0 n1 TRIAL_ERROR", "0 n2 TRIAL_ERROR", "1 n1 LOST"], ""),  # trial 0 fails on any node
        (["0 n1 TRIAL_ERROR", "1 n1 TRIAL_ERROR", "1 n1 TRIAL_ERROR"], "n1"),
        (["0 n1 LOST", "0 n2 LOST", "1 n1 LOST"], "n1"),  # only errors of the trial itself clear a node
        (["0 n2 LOST", "0 n1 TRIAL_ERROR", "1 n1 LOST"], "n1"),  # one error of the trial itself
        (["0 - TRIAL_ERROR", "0 n1 TRIAL_ERROR", "1 n1 LOST"], "n1"),  # the node of the first error is unknown
        (["0 n1+n2 TRIAL_ERROR", "0 n2+n3 TRIAL_ERROR", "1 n1 LOST"], "n1"),  # both on n2
    ],
)
def test_a_node_is_excluded_after_failures_of_two_trials(ends, excluded):
    assert fold(ends).excluded() == set(excluded.split())


def test_a_node_is_reported_when_it_becomes_excluded_and_not_again():
    failures = fold(["0 n1 LOST", "1 n1 LOST"])
    record = end_of("LOST", 1, hosts=["n1", "n2"])
    assert failures.newly_excluded([record]) == ["n1"]
    assert failures.newly_excluded([end_of("TIME_LIMIT", 1, hosts=["n1"])]) == []
    failures = fold(["0 n1 LOST", "1 n1 LOST", "2 n1 LOST"])
    assert failures.newly_excluded([end_of("LOST", 2, hosts=["n1"])]) == []


def test_a_trial_avoids_excluded_nodes_and_those_that_it_failed_on():
    failures = fold(["0 n3 LOST", "1 n3 LOST"])
    trial = trial_state(
        2,
        [
            attempt_state(2, 1, reason="TRIAL_ERROR", hosts=["n2"]),
            attempt_state(2, 2, reason="TIME_LIMIT", hosts=["n1"]),
            attempt_state(2, 3),
        ],
    )
    assert excluded_nodes(failures, trial) == ("n2", "n3")


def test_equal_failures_in_a_row_are_counted():
    streak, counts = FailureStreak(), []
    reasons = "TRIAL_ERROR TRIAL_ERROR CANCELLED STOPPED TRIAL_ERROR LOST COMPLETED LOST EARLY_STOPPED"
    for trial, reason in enumerate(reasons.split()):
        streak.record(end_of(reason, trial))
        counts.append(streak.count)
    assert counts == [1, 2, 2, 2, 3, 1, 0, 1, 0]


def test_a_resumed_campaign_counts_from_zero():
    streak = FailureStreak()
    for trial in range(2):
        streak.record(end_of("LOST", trial))
    streak.reset()
    assert streak.count == FailureStreak().count == 0
    streak.record(end_of("LOST", 2))
    assert streak.count == 1


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        ("COMPLETED", False),
        ("EARLY_STOPPED", False),
        ("STOPPED", False),
        ("CAMPAIGN_ENDED", False),
        ("CANCELLED", False),
        ("OUT_OF_MEMORY", True),
        ("TRAINING_DIVERGED", True),
        ("LOST", True),
    ],
)
def test_deliberate_ends_are_no_failures(reason, failure):
    assert is_failure(EndReason(reason)) is failure


@pytest.mark.parametrize(
    ("reason", "job", "best", "proven", "count", "paused"),
    [
        pytest.param("BAD_DATA", "7", None, True, 1, True, id="bad data at any time"),
        pytest.param("SUBMIT_REFUSED", None, None, True, 1, True, id="a refused job at any time"),
        pytest.param("TRIAL_ERROR", "7", None, False, 1, True, id="the first failure of an unproven site"),
        pytest.param("OUT_OF_MEMORY", "7", None, False, 1, True, id="for any reason"),
        pytest.param("TRIAL_ERROR", "7", None, True, 1, False, id="a failure of a proven site"),
        pytest.param("LOST", None, None, False, 1, False, id="no job was known"),
        pytest.param("CANCELLED", "7", None, False, 0, False, id="cancelled by a user"),
        pytest.param("TRIAL_ERROR", "7", 0.5, False, 1, False, id="it completed an epoch"),
        pytest.param("TRIAL_ERROR", "7", None, True, 2, False, id="one failure below the limit"),
        pytest.param("TRIAL_ERROR", "7", None, True, 3, True, id="as many failures as the limit"),
        pytest.param("TRIAL_ERROR", "7", None, True, 4, True, id="more failures than the limit"),
    ],
)
def test_when_a_campaign_pauses_with_a_limit_of_three(reason, job, best, proven, count, paused):
    record = end_of(reason, 5, best_error=best)
    streak = FailureStreak(count, record if count else None)
    trials = {5: trial_state(5, [attempt_state(5, 1, job="7"), attempt_state(5, 2, job=job)])}
    found = pause_reason([record], trials, streak, 3, proven=proven)
    assert (found is not None) is paused, found


def test_a_pause_names_trial_reason_and_message():
    record = end_of("BAD_DATA", 5)
    trials = {5: trial_state(5, [attempt_state(5)])}
    assert pause_reason([record], trials, FailureStreak(), 3, proven=True) == "trial 5 ended BAD_DATA: no message"
    record = end_of("LOST", 5)
    assert pause_reason([record], trials, FailureStreak(3, record), 3, proven=True) == (
        "3 trials in a row ended LOST; the last one, 5: no message"
    )
    record = record.model_copy(update={"message": "node gone"})
    assert pause_reason([record], trials, FailureStreak(1, record), 3, proven=False) == "trial 5 ended LOST: node gone"
    assert pause_reason([record], trials, FailureStreak(3, record), 3, proven=True) == (
        "3 trials in a row ended LOST; the last one, 5: node gone"
    )
    assert pause_reason([], trials, FailureStreak(9, record), 3, proven=True) is None


def test_two_trials_exclude_a_node():
    assert failure_policy.EXCLUDING_FAILURES == 2
