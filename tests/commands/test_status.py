"""What `status` says of attempts that have not ended: what the queue says, with its reason."""

from __future__ import annotations

import pytest

from aiperf_orch.campaign.state import Attempt
from aiperf_orch.commands.status import live_state
from aiperf_orch.records import BeganRecord, EndReason
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.schedulers.slurm.queue import QueueRow
from aiperf_orch.units import now

_ENDED = JobStatus("a", "1", JobState.ENDED, "exit status 1")


def _slurm(state: str, reason: str = "None") -> JobStatus:
    return QueueRow("a", "1", state, 5.0, reason, "n1").status


def _attempt(*, begun: bool, cancelling: EndReason | None = None) -> Attempt:
    began = BeganRecord(trial=0, attempt=1, run=0, time=now(), hosts=["n1"], job="1") if begun else None
    return Attempt(0, 1, "a", now(), "1", began, cancelling=cancelling)


@pytest.mark.parametrize(
    ("begun", "queued", "state", "why"),
    [
        (True, _slurm("RUNNING"), "RUNNING", ""),
        (True, _slurm("SUSPENDED"), "SUSPENDED", "suspended for another job or by an administrator"),
        (True, _slurm("STOPPED"), "SUSPENDED", "stopped by a signal"),
        (True, _slurm("PENDING", "BeginTime"), "PENDING", "is in the queue again, BeginTime: its earliest start"),
        (True, _slurm("REQUEUE_HOLD", "job requeued in held state"), "PENDING", "is in the queue again, job requeued"),
        (True, _slurm("COMPLETING"), "RUNNING", "COMPLETING"),
        (True, _ENDED, "RUNNING", "its job has ended: exit status 1"),
        (True, None, "RUNNING", "the queue does not list its job"),
        (False, _slurm("PENDING", "Priority"), "PENDING", "Priority: jobs of higher priority"),
        (False, _slurm("RUNNING"), "SUBMITTED", ""),
        (False, _slurm("SUSPENDED"), "SUSPENDED", "suspended for another job"),
        (False, None, "SUBMITTED", ""),
    ],
)
def test_the_state_of_an_attempt_is_the_queues(begun: bool, queued: JobStatus | None, state: str, why: str) -> None:
    told = live_state(_attempt(begun=begun), queued, asked=True)
    assert told[0] == state
    assert told[1].startswith(why)
    assert bool(told[1]) == bool(why)
    ending = live_state(_attempt(begun=begun, cancelling=EndReason.STOPPED), queued, asked=True)
    assert ending == ("ENDING", ", ".join(filter(None, ["was told to end: STOPPED", told[1]])))


@pytest.mark.parametrize(("begun", "state"), [(True, "RUNNING"), (False, "SUBMITTED")])
def test_without_the_queue_the_journals_word_stands(begun: bool, state: str) -> None:
    assert live_state(_attempt(begun=begun), None, asked=False) == (state, "")
