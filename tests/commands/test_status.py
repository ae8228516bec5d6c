"""What `status` says of attempts that have not ended: what the queue says, with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from aiperf_orch.campaign.trial_state import AttemptState
from aiperf_orch.commands.status import live_state, show_status
from aiperf_orch.records.base import EndReason
from aiperf_orch.records.journal import Finished
from aiperf_orch.schedulers.base import JobState, JobStatus
from aiperf_orch.schedulers.slurm.squeue import QueueRow
from aiperf_orch.util.units import now

_ENDED = JobStatus("a", "1", JobState.ENDED, "exit status 1")


def _slurm(state: str, reason: str = "None") -> JobStatus:
    return QueueRow("a", "1", state, 5.0, reason, "n1").status


def _state(
    queued: JobStatus | None, *, begun: bool, queried: bool = True, cancelling: EndReason | None = None
) -> tuple[str, str]:
    return live_state(AttemptState(0, 1, "a", now(), "1", cancelling=cancelling), queued, begun=begun, queried=queried)


@pytest.mark.parametrize(
    ("begun", "queued", "state", "why"),
    [
        (True, _slurm("RUNNING"), "RUNNING", ""),
        (True, _slurm("SUSPENDED"), "SUSPENDED", "suspended for another job or by an administrator"),
        (True, _slurm("STOPPED"), "SUSPENDED", "stopped by a signal"),
        (True, _slurm("PENDING", "BeginTime"), "PENDING", "requeued, BeginTime: its earliest start"),
        (True, _slurm("REQUEUE_HOLD", "job requeued in held state"), "PENDING", "requeued, job requeued"),
        (True, _slurm("COMPLETING"), "RUNNING", "COMPLETING"),
        (True, _ENDED, "RUNNING", "its job has ended: exit status 1"),
        (True, None, "RUNNING", "the queue does not list its job"),
        (False, _slurm("PENDING", "Priority"), "PENDING", "Priority: jobs of higher priority"),
        (False, _slurm("RUNNING"), "SUBMITTED", ""),
        (False, _slurm("SUSPENDED"), "SUSPENDED", "suspended for another job"),
        (False, None, "SUBMITTED", ""),
    ],
)
def test_the_state_of_an_attempt_comes_from_the_queue(
    begun: bool, queued: JobStatus | None, state: str, why: str
) -> None:
    shown, reason = _state(queued, begun=begun)
    assert shown == state
    assert reason.startswith(why)
    assert bool(reason) == bool(why)
    ending = _state(queued, begun=begun, cancelling=EndReason.STOPPED)
    assert ending == ("ENDING", ", ".join(filter(None, ["signalled to end: STOPPED", reason])))


@pytest.mark.parametrize(("begun", "state"), [(True, "RUNNING"), (False, "SUBMITTED")])
def test_without_the_queue_the_state_comes_from_the_journal(begun: bool, state: str) -> None:
    assert _state(None, begun=begun, queried=False) == (state, "")


def test_events_that_no_controller_has_seen_are_shown(campaign: Callable[..., Any]) -> None:
    made = campaign()
    for trial in range(3):
        made.submit(trial)
    made.events(made.begin(1, 1), made.epoch(1, 5, 0.2, 1), trial=1)
    made.events(made.begin(1, 2), made.epoch(1, 5, 0.1, 2), made.end(6, 2), trial=2)
    rows = json.loads(show_status(made.path, "json").text)["trials"]
    assert [(row["state"], row["host"], row["error"]) for row in rows] == [
        ("SUBMITTED", None, None),
        ("RUNNING", "n1", 0.2),
        ("ENDED", "n1", 0.1),
    ]
    assert rows[2]["why"] == "COMPLETED; not yet recorded by a controller"


def test_a_trial_between_two_attempts_has_not_ended(campaign: Callable[..., Any]) -> None:
    made = campaign()
    made.submit()
    made.ended(runs=0, reason="LOST", message="left the queue", final=False)
    [row] = json.loads(show_status(made.path, "json").text)["trials"]
    assert (row["state"], row["why"]) == ("RETRY", "LOST: left the queue")
    made.write(Finished, reason="its 1h are over", by_deadline=True)
    [row] = json.loads(show_status(made.path, "json").text)["trials"]
    assert (row["state"], row["why"]) == ("LOST", "left the queue")
