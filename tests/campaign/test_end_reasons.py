"""The table of legal histories: it has what the controller writes in every case, and nothing else."""

from itertools import product

import pytest

from aiperf_orch.campaign.end_reasons import (
    HISTORIES,
    EndRecords,
    Writer,
    describe_mismatch,
    matching_history,
    reason_with_end_line,
    reason_without_end_line,
)
from aiperf_orch.campaign.failure_policy import CONSEQUENCES
from aiperf_orch.records.base import EndReason as Reason

ORDERS = (None, Reason.STOPPED, Reason.CAMPAIGN_ENDED, Reason.HUNG, Reason.HELD, Reason.LOST)
BY_QUEUE = (
    None,
    Reason.CANCELLED,
    Reason.TIME_LIMIT,
    Reason.NODE_FAILURE,
    Reason.PREEMPTED,
    Reason.OUT_OF_MEMORY,
    Reason.TRIAL_ERROR,
)
BY_TRIAL = {  # and whether it writes that only after its begin line
    Reason.COMPLETED: True,
    Reason.EARLY_STOPPED: True,
    Reason.TRAINING_DIVERGED: True,
    Reason.TIME_LIMIT: False,
    Reason.STOPPED: False,
    Reason.OUT_OF_MEMORY: False,
    Reason.BAD_DATA: False,
    Reason.NODE_FAILURE: False,
    Reason.HUNG: False,
    Reason.TRIAL_ERROR: False,
}

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("line", BY_TRIAL)
def test_every_end_line_of_a_trial_leads_to_a_legal_history(line):
    for order, queue, begun, run in product(ORDERS, BY_QUEUE, (True, BY_TRIAL[line]), (0, 1, 7)):
        for job in (True, False) if queue is None else (True,):  # a queue is asked for known jobs
            reason = reason_with_end_line(line, order, queue)
            found = matching_history(EndRecords(reason, line, begun=begun, job=job, run=run))
            assert found is not None, (line, order, queue, begun, job)
            assert found.why


@pytest.mark.parametrize("order", ORDERS)
def test_every_reclaimed_attempt_has_a_legal_history(order):
    for queue, unseen, job, run in product(BY_QUEUE, (False, True), (True, False), (0, 1, 7)):
        if job or (queue is None and not unseen):
            reason = reason_without_end_line(order, queue, unseen=unseen and queue is None)
            # another controller may find the line that one wrote which was killed before it journaled it
            for journal in {reason, reason_with_end_line(reason, order), reason_with_end_line(reason, None, queue)}:
                assert matching_history(EndRecords(journal, reason, begun=False, job=job, run=run)), (
                    order,
                    queue,
                    journal,
                )


@pytest.mark.parametrize(
    ("agent", "reclaimed", "notified"),
    [
        (Reason.NODE_FAILURE, Reason.NODE_FAILURE, Reason.NODE_FAILURE),  # lost
        (Reason.LOST, Reason.LOST, Reason.CANCELLED),  # killed
        (Reason.PREEMPTED, Reason.PREEMPTED, Reason.PREEMPTED),  # terminated
        (Reason.TIME_LIMIT, Reason.TIME_LIMIT, Reason.TIME_LIMIT),  # the end of its allocation
        (Reason.TRIAL_ERROR, Reason.TRIAL_ERROR, Reason.TRIAL_ERROR),  # the trial's process failed on it
        (None, Reason.LOST, Reason.CANCELLED),  # a signal ended the trial's process
    ],
)
def test_every_end_of_a_placed_attempt_has_a_legal_history(agent, reclaimed, notified):
    """`agent` is what the agent, or its end, says of an attempt that left no end line, or was asked to stop."""
    assert reason_without_end_line(None, agent) is reclaimed
    assert reason_with_end_line(Reason.STOPPED, None, agent) is notified
    for run in (0, 1):
        assert matching_history(EndRecords(reclaimed, reclaimed, begun=False, job=True, run=run))
    for begun in (True, False):
        assert matching_history(EndRecords(notified, Reason.STOPPED, begun=begun, job=True, run=0))


def test_a_reason_that_schedulers_do_not_give_is_ignored():
    assert reason_with_end_line(Reason.STOPPED, None, Reason.COMPLETED) is Reason.CANCELLED
    assert reason_without_end_line(None, Reason.COMPLETED) is Reason.LOST


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_history_and_a_consequence(reason):
    assert any(row.reason is reason for row in HISTORIES)
    assert reason in CONSEQUENCES


def test_each_row_is_found_and_has_a_cause():
    assert len(set(HISTORIES)) == len(HISTORIES)
    for row in HISTORIES:
        known = {"begun": bool(row.begun), "job": row.job is not False, "run": 1 if row.later else 0}
        assert matching_history(EndRecords(row.reason, row.line, **known))
        assert row.why
        assert row.writer is Writer.TRIAL or row.line is row.reason


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (EndRecords(Reason.COMPLETED, Reason.LOST, begun=True, job=True, run=0), "no attempt has this history"),
        (EndRecords(Reason.LOST, Reason.COMPLETED, begun=True, job=True, run=0), "no attempt has this history"),
        (EndRecords(Reason.STOPPED, Reason.CANCELLED, begun=True, job=True, run=0), "no attempt has this history"),
        (EndRecords(Reason.COMPLETED, Reason.STOPPED, begun=True, job=True, run=0), "no attempt has this history"),
        (EndRecords(Reason.BAD_DATA, Reason.STOPPED, begun=True, job=True, run=0), "no attempt has this history"),
        (
            EndRecords(Reason.SUBMIT_REFUSED, Reason.STOPPED, begun=True, job=False, run=0),
            "no attempt has this history",
        ),
        (
            EndRecords(Reason.COMPLETED, Reason.COMPLETED, begun=False, job=True, run=0),
            "its last run has no begin line",
        ),
        (EndRecords(Reason.PREEMPTED, Reason.STOPPED, begun=True, job=False, run=0), "the journal knows no job of it"),
        (
            EndRecords(Reason.PREEMPTED, Reason.PREEMPTED, begun=False, job=False, run=1),
            "the journal knows no job of it",
        ),
        (EndRecords(Reason.SUBMIT_REFUSED, Reason.SUBMIT_REFUSED, begun=False, job=True, run=0), "knows a job of it"),
    ],
)
def test_a_history_that_no_controller_writes_is_not_legal(records, why):
    assert matching_history(records) is None
    assert why in describe_mismatch(records)
