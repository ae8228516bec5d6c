"""Submits requests group by group, and sorts them by outcome: what all batch systems do alike."""

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

_LONGEST: Final = 3.0
"""Seconds after which no further call is begun: the controller looks at stop requests between submissions."""


def submit_groups(requests: Group, submit: Callable[[Group], str]) -> SubmitResult:
    """Submit jobs; elements of one array by one call, halved while a limit refuses the whole or may refuse it.

    After some seconds the rest is left for later, for no other reason than time.

    Args:
        requests: the jobs.
        submit: submits one job, or elements of one array, and returns the id; raises `QueueFullError`, `SubmitRefusedError`,
            `SubmitPostponedError` or `SchedulerUnreachableError`.
    """
    done, groups, until = SubmitResult(), _groups(requests), monotonic() + _LONGEST
    while groups:
        if done.jobs and monotonic() >= until:
            return _left(done, groups, "")
        group = groups.pop(0)
        names = [request.name for request in group]
        try:
            job = submit(group)
        except QueueFullError as error:
            if len(group) == 1:
                return _left(done, [group, *groups], str(error))
            middle = len(group) // 2
            groups[:0] = [group[:middle], group[middle:]]
        except SubmitRefusedError as error:
            done.refused.update(dict.fromkeys(names, str(error)))
            return _left(done, groups, str(error))
        except SubmitPostponedError as error:
            done.postponed.update(dict.fromkeys(names, str(error)))
            return _left(done, groups, str(error))
        except (OSError, RuntimeError, UsageError) as error:  # a file, the template or a program is away for now
            why = f"cannot be submitted for now: {error}"
            done.postponed.update(dict.fromkeys(names, why))
            return _left(done, groups, why)
        except SchedulerUnreachableError as error:
            done.unsure.update(dict.fromkeys(names, str(error)))
            return _left(done, groups, str(error))
        else:
            for name in names:
                element = array_element(name)
                done.jobs[name] = f"{job}_{element[1]}" if element else job
    return done


def _groups(requests: Group) -> list[Group]:
    """Elements of one array that follow the same job together, every other job alone."""
    groups: dict[tuple[str, str | None], list[JobRequest]] = {}
    for request in requests:
        element = array_element(request.name)
        groups.setdefault((element[0] if element else request.name, request.after), []).append(request)
    return list(groups.values())


def _left(done: SubmitResult, groups: Sequence[Group], why: str) -> SubmitResult:
    done.waiting.update({request.name: why for group in groups for request in group})
    return done
