"""Submission of requests in groups: arrays, limits, errors and the time limit, against a queue made of a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from aiperf_orch.schedulers import batching
from aiperf_orch.schedulers.base import JobRequest, SubmitResult
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.util.errors import (
    QueueFullError,
    SchedulerUnreachableError,
    SubmitPostponedError,
    SubmitRefusedError,
    UsageError,
)

pytestmark = pytest.mark.unit


def jobs(*names: str) -> list[JobRequest]:
    return [JobRequest(name, Path("/f"), Path("/s"), Path("/c"), ("true",)) for name in names]


def array(number: int, name: str = "a") -> list[JobRequest]:
    return jobs(*(f"{name}[{index}]" for index in range(number)))


def outcomes(result: SubmitResult) -> dict[str, str]:
    """The outcome of each request; fails where a request has more than one."""
    found: dict[str, str] = {}
    for outcome, requests in asdict(result).items():
        for name in requests:
            assert name not in found, f"{name} is {found[name]} and {outcome}"
            found[name] = outcome
    return found


class Queue:
    """Accepts `capacity` jobs, and raises `error` for a call with more."""

    def __init__(self, capacity: int, error: Exception) -> None:
        self.capacity, self.error, self.calls = capacity, error, list[list[str]]()

    def __call__(self, group: Sequence[JobRequest]) -> str:
        self.calls.append([request.name for request in group])
        if len(group) > self.capacity:
            raise self.error
        self.capacity -= len(group)
        return str(len(self.calls))


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("capacity", range(10))
def test_an_array_that_exceeds_a_limit_loses_no_element(number: int, capacity: int) -> None:
    queue = Queue(capacity, QueueFullError("full"))
    result = submit_groups([*array(number), *jobs("x")], queue)
    names = [*(f"a[{index}]" for index in range(number)), "x"]
    expected = {name: "jobs" if position < capacity else "waiting" for position, name in enumerate(names)}
    found = outcomes(result)
    assert found == expected, f"{sorted(expected.keys() - found.keys())} have no outcome; calls: {queue.calls}"
    assert set(result.waiting.values()) <= {"full"}


HALVED: Mapping[int, list[list[int]]] = {
    # the indices of each call, for an array of 5 and this capacity
    5: [[0, 1, 2, 3, 4]],
    4: [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4], [3], [4]],
    3: [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4], [2], [3, 4], [3]],
    1: [[0, 1, 2, 3, 4], [0, 1], [0], [1]],
    0: [[0, 1, 2, 3, 4], [0, 1], [0]],
}


@pytest.mark.parametrize("capacity", HALVED)
def test_an_array_is_halved_until_a_part_is_accepted(capacity: int) -> None:
    queue = Queue(capacity, QueueFullError("full"))
    result = submit_groups(array(5), queue)
    assert queue.calls == [[f"a[{index}]" for index in call] for call in HALVED[capacity]]
    ids = {
        f"a[{index}]": f"{number}_{index}" for number, call in enumerate(HALVED[capacity], start=1) for index in call
    }
    assert result.jobs == {name: job for name, job in ids.items() if name in result.jobs}


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (QueueFullError("why"), "waiting", "why"),
        (SubmitRefusedError("why"), "refused", "why"),
        (SubmitPostponedError("why"), "postponed", "why"),
        (SchedulerUnreachableError("why"), "unsure", "why"),
        (
            OSError(28, "No space left on device"),
            "postponed",
            "cannot be submitted at present: [Errno 28] No space left",
        ),
        (RuntimeError("no srun"), "postponed", "cannot be submitted at present: no srun"),
        (UsageError("own.j2"), "postponed", "cannot be submitted at present: own.j2"),
    ],
)
@pytest.mark.parametrize("second", ["y", "a[3]"])
def test_the_rest_waits_after_a_job_is_not_accepted(error: Exception, outcome: str, reason: str, second: str) -> None:
    queue = Queue(1, error)
    result = submit_groups(jobs("x", second, "z"), queue)
    assert queue.calls == [["x"], [second]]
    assert result.jobs == {"x": "1"}
    assert outcomes(result) == {"x": "jobs", second: outcome, "z": "waiting"}
    assert getattr(result, outcome)[second].startswith(reason)
    assert result.waiting["z"].startswith(reason)


@pytest.mark.parametrize(
    "error", [SubmitRefusedError("why"), SubmitPostponedError("why"), SchedulerUnreachableError("w")]
)
def test_an_array_is_halved_for_no_other_error(error: Exception) -> None:
    queue = Queue(1, error)
    result = submit_groups([*array(4), *jobs("z")], queue)
    assert len(queue.calls) == 1
    assert len(set(outcomes(result).values()) - {"waiting"}) == 1
    assert outcomes(result).keys() == {*(f"a[{index}]" for index in range(4)), "z"}


def test_elements_with_different_dependencies_are_submitted_apart() -> None:
    follow = [replace(request, after=after) for request, after in zip(array(4), ("7", None, "8", "7"), strict=True)]
    queue = Queue(9, QueueFullError("full"))
    result = submit_groups([*follow, *jobs("x"), *array(1, "b")], queue)
    assert queue.calls == [["a[0]", "a[3]"], ["a[1]"], ["a[2]"], ["x"], ["b[0]"]]
    assert result.jobs == {"a[0]": "1_0", "a[3]": "1_3", "a[1]": "2_1", "a[2]": "3_2", "x": "4", "b[0]": "5_0"}


@pytest.mark.parametrize(
    ("seconds_per_call", "submitted"),
    # the first call is made in any case, and none begins after 3 s
    [(0.0, 6), (1.0, 3), (1.5, 2), (2.0, 2), (2.99, 2), (3.0, 1), (100.0, 1)],
)
def test_the_rest_waits_without_a_reason_after_three_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds_per_call: float, submitted: int
) -> None:
    now = 1000.0

    def submit(_group: Sequence[JobRequest]) -> str:
        nonlocal now
        now += seconds_per_call
        return "7"

    monkeypatch.setattr(batching, "monotonic", lambda: now)
    names = list("abcdef")
    result = submit_groups(jobs(*names), submit)
    assert list(result.jobs) == names[:submitted]
    assert result.waiting == dict.fromkeys(names[submitted:], "")


def test_time_alone_does_not_end_a_submission_before_a_job_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    queue = Queue(1, QueueFullError("full"))

    def submit(group: Sequence[JobRequest]) -> str:
        nonlocal now
        now += 10.0
        return queue(group)

    monkeypatch.setattr(batching, "monotonic", lambda: now)
    assert submit_groups(array(4), submit).jobs == {"a[0]": "3_0"}


def test_no_request_makes_no_call() -> None:
    queue = Queue(9, QueueFullError("full"))
    assert submit_groups([], queue) == SubmitResult()
    assert queue.calls == []
