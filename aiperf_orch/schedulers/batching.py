"""Submission of requests in groups, for all batch systems: arrays are halved at limits, and outcomes are sorted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final

from aiperf_orch.schedulers.base import JobRequest, SubmitResult, array_element
from aiperf_orch.util.errors import (
    QueueFullError,
    SchedulerUnreachableError,
    SubmitPostponedError,
    SubmitRefusedError,
    UsageError,
)

Group = Sequence[JobRequest]

_TIME_LIMIT: Final = 3.0
"""Seconds after which no further call starts, since the controller handles stop requests between submissions."""


def submit_groups(requests: Group, submit: Callable[[Group], str]) -> SubmitResult:
    """Submit jobs, elements of one array by one call.

    A group that exceeds a limit is halved, down to single jobs. After the first refusal or error, and after a few
    seconds, the rest is returned as `waiting`; in the second case with an empty reason.

    Args:
        requests: jobs and elements of arrays, in order of submission.
        submit: submits one job, or elements of one array, and returns the id; raises `QueueFullError`,
            `SubmitRefusedError`, `SubmitPostponedError` or `SchedulerUnreachableError`.
    """
    result, groups, deadline = SubmitResult(), _groups(requests), monotonic() + _TIME_LIMIT
    while groups:
        if result.jobs and monotonic() >= deadline:
            return _with_waiting(result, groups, "")
        group = groups.pop(0)
        names = [request.name for request in group]
        try:
            job = submit(group)
        except QueueFullError as error:
            if len(group) == 1:
                return _with_waiting(result, [group, *groups], str(error))
            middle = len(group) // 2
            groups[:0] = [group[:middle], group[middle:]]
        except SubmitRefusedError as error:
            result.refused.update(dict.fromkeys(names, str(error)))
            return _with_waiting(result, groups, str(error))
        except SubmitPostponedError as error:
            result.postponed.update(dict.fromkeys(names, str(error)))
            return _with_waiting(result, groups, str(error))
        except (OSError, RuntimeError, UsageError) as error:  # a file, the template or a program is missing at present
            reason = f"cannot be submitted at present: {error}"
            result.postponed.update(dict.fromkeys(names, reason))
            return _with_waiting(result, groups, reason)
        except SchedulerUnreachableError as error:
            result.unsure.update(dict.fromkeys(names, str(error)))
            return _with_waiting(result, groups, str(error))
        else:
            for name in names:
                element = array_element(name)
                result.jobs[name] = f"{job}_{element[1]}" if element else job
    return result


def _groups(requests: Group) -> list[Group]:
    """Group elements of one array that depend on the same job; every other job is its own group."""
    groups: dict[tuple[str, str | None], list[JobRequest]] = {}
    for request in requests:
        element = array_element(request.name)
        groups.setdefault((element[0] if element else request.name, request.after), []).append(request)
    return list(groups.values())


def _with_waiting(result: SubmitResult, groups: Sequence[Group], reason: str) -> SubmitResult:
    result.waiting.update({request.name: reason for group in groups for request in group})
    return result
