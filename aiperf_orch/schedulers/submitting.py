"""Submits requests group by group, and sorts what became of them: what all batch systems do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiperf_orch.errors import QueueFull, SchedulerUnreachable, SubmitRefused
from aiperf_orch.schedulers.base import JobRequest, Submission, array_element

Group = Sequence[JobRequest]


def submit_groups(requests: Group, submit: Callable[[Group], str], *, most_calls: int | None = None) -> Submission:
    """Submit jobs; elements of one array by one call, halved while a limit refuses the whole.

    Args:
        requests: the jobs.
        submit: submits one job, or elements of one array, and returns the id; raises `QueueFull`, `SubmitRefused` or
            `SchedulerUnreachable`.
        most_calls: after so many calls the rest is left for later, for no other reason than time.
    """
    done, groups, calls = Submission(), _groups(requests), 0
    while groups:
        if calls == most_calls:
            return _left(done, groups, "")
        group = groups.pop(0)
        names = [request.name for request in group]
        calls += 1
        try:
            job = submit(group)
        except QueueFull as error:
            if len(group) == 1:
                return _left(done, [group, *groups], str(error))
            middle = len(group) // 2
            groups[:0] = [group[:middle], group[middle:]]
        except SubmitRefused as error:
            done.refused.update(dict.fromkeys(names, str(error)))
            return _left(done, groups, str(error))
        except SchedulerUnreachable as error:
            done.unsure.update(dict.fromkeys(names, str(error)))
            return _left(done, groups, str(error))
        else:
            for name in names:
                element = array_element(name)
                done.jobs[name] = f"{job}_{element[1]}" if element else job
    return done


def _groups(requests: Group) -> list[Group]:
    """Elements of one array together, every other job alone."""
    groups: dict[str, list[JobRequest]] = {}
    for request in requests:
        element = array_element(request.name)
        groups.setdefault(element[0] if element else request.name, []).append(request)
    return list(groups.values())


def _left(done: Submission, groups: Sequence[Group], why: str) -> Submission:
    done.waiting.update({request.name: why for group in groups for request in group})
    return done
