"""How requests are submitted group by group, and sorted by outcome: pure, with a scheduler made of a function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from aiperf_orch.schedulers.base import JobRequest
from aiperf_orch.schedulers.batching import submit_groups
from aiperf_orch.util.errors import QueueFullError, SchedulerUnreachableError, SubmitPostponedError, SubmitRefusedError


def requests(*names: str) -> list[JobRequest]:
    return [JobRequest(name, Path("/f"), Path("/s"), Path("/c"), ("true",)) for name in names]


def array(number: int) -> list[JobRequest]:
    return requests(*(f"a[{index}]" for index in range(number)))


class Queue:
    """Accepts so many jobs, and says of more what `error` is."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room, self.error, self.calls = room, error, list[list[str]]()

    def __call__(self, group: Sequence[JobRequest]) -> str:
        self.calls.append([request.name for request in group])
        if len(group) > self.room:
            raise self.error
        self.room -= len(group)
        return str(len(self.calls))


@pytest.mark.parametrize("room", range(10))
def test_of_an_array_as_many_are_accepted_as_there_is_room_for(room: int) -> None:
    queue = Queue(room, QueueFullError("full"))
    done = submit_groups(array(9), queue)
    assert list(done.jobs) == [f"a[{index}]" for index in range(room)]
    assert done.waiting == {f"a[{index}]": "full" for index in range(room, 9)}
    assert not done.refused | done.postponed | done.unsure


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (QueueFullError("why"), "waiting"),
        (SubmitRefusedError("why"), "refused"),
        (SubmitPostponedError("why"), "postponed"),
        (SchedulerUnreachableError("why"), "unsure"),
    ],
)
def test_after_the_first_that_is_not_accepted_the_rest_is_left(error: Exception, outcome: str) -> None:
    queue = Queue(1, error)
    done = submit_groups(requests("x", "y", "z"), queue)
    assert queue.calls == [["x"], ["y"]]
    assert done.jobs == {"x": "1"}
    assert getattr(done, outcome)["y"] == "why"
    assert done.waiting["z"] == "why"


def test_elements_that_follow_different_jobs_are_submitted_apart() -> None:
    follow = [replace(request, after=after) for request, after in zip(array(4), ("7", None, "8", "7"), strict=True)]
    queue = Queue(9, QueueFullError("full"))
    done = submit_groups([*follow, *requests("x")], queue)
    assert queue.calls == [["a[0]", "a[3]"], ["a[1]"], ["a[2]"], ["x"]]
    assert done.jobs == {"a[0]": "1_0", "a[3]": "1_3", "a[1]": "2_1", "a[2]": "3_2", "x": "4"}
