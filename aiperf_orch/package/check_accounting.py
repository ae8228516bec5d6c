"""Holds the trials' own times to what the queue's accounting says of their jobs: independent evidence, where there is any.

A line of accounting.jsonl is a JSON object with the job's `name`, and where the queue knows them `start` and `end` (UTC),
`state` and `exit_code`; whatever else the queue says stands beside them and is not judged. A job that ran again has a line for
each run, or, where the accounting keeps no more, one for its last run: begins of earlier runs are not judged then.

The end of a job that ended by itself is when its processes had ended. The end of one that the queue ended is when the queue
decided so, or gave up a node that it had lost: a trial that nobody could tell may go on, and what it ends until the
controller takes its attempt away counts. So such an end is not held against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ValidationError

from aiperf_orch.package.package_index import Evidence
from aiperf_orch.records.base import first_error
from aiperf_orch.records.events import Begin
from aiperf_orch.util.units import Timestamp, format_time

_CLOCKS_APART: Final = 10.0
_LARGEST_SKEW: Final = 86400.0
_ENDED_BY_QUEUE: Final = frozenset(
    {
        *("CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "REVOKED"),  # Slurm's
        "DELETED",  # what we call a deleted job of PBS
    }
)
_GIVEN_UP: Final = "-20"
"""PBS's exit code of a job whose node did not answer: its end is when the server gave it up."""


class _Job(BaseModel):
    """What is judged of a line."""

    name: str
    start: Timestamp | None = None
    end: Timestamp | None = None
    state: str = ""
    exit_code: str = ""

    @property
    def ended_by_itself(self) -> bool:
        return self.state.partition(" ")[0] not in _ENDED_BY_QUEUE and self.exit_code != _GIVEN_UP


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of an attempt by its events: its begin, and its last epoch's end, by its node's own clock."""

    begin: datetime
    last: datetime | None
    apart: timedelta


_Started = tuple[datetime, str, _Job]


def check_accounting(evidence: Evidence) -> None:
    """Compare every job that the queue accounts for with its attempt's events, and miss those that it does not know."""
    file = evidence.directory.accounting
    if file.name not in evidence.package.hashes:
        return
    attempts = {record.name: (record.trial, record.attempt) for _, record in evidence.attempts()}
    jobs: defaultdict[tuple[int, int], list[tuple[str, _Job]]] = defaultdict(list)
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
        where = f"{file.name}:{number}"
        try:
            job = _Job.model_validate_json(line)
        except ValidationError as error:
            evidence.faults.add("accounting.format", where, f"not a job: {first_error(error)}")
            continue
        key = attempts.get(job.name)
        if key is None:
            evidence.faults.add("accounting.unknown", where, f"{job.name}: is no attempt of this campaign")
            continue
        jobs[key].append((where, job))
    runs = _runs(evidence)
    for key, records in jobs.items():
        for where, job, what, ours, theirs in _outside(records, runs.get(key, ())):
            why = f"{job.name}: its {what} is {format_time(theirs)}, and its events say {format_time(ours)}"
            evidence.faults.add("accounting.time", where, why)
    trials = evidence.result.state.trials
    for trial, attempt in sorted(runs.keys() - jobs.keys()):
        if trials[trial].attempts[attempt - 1].job is None:
            continue  # accounting is asked for the jobs that the journal knows
        why = f"attempt {attempt} of trial {trial} began, and the queue's accounting does not know it"
        evidence.faults.add("accounting.missing", evidence.at_event(trial, attempt, "begin"), why)


def _runs(evidence: Evidence) -> dict[tuple[int, int], list[_Run]]:
    """By trial and attempt, its runs that began, in order."""
    found: defaultdict[tuple[int, int], list[_Run]] = defaultdict(list)
    for records in evidence.trials:
        for attempt in records.trial.attempts:
            begins = sorted((begin for begin in records.begins if begin.attempt == attempt.attempt), key=_time)
            epochs = [epoch for epoch in records.epochs if epoch.attempt == attempt.attempt]
            for begin, after in zip(begins, [*begins[1:], None], strict=False):
                until = after.time if after else datetime.max.replace(tzinfo=begin.time.tzinfo)
                last = max((epoch.end for epoch in epochs if begin.time <= epoch.start < until), default=None)
                ahead = timedelta(seconds=begin.set_ahead)
                apart = timedelta(seconds=_CLOCKS_APART + min(abs(begin.clock_skew), _LARGEST_SKEW))
                found[attempt.key].append(_Run(begin.time - ahead, last and last - ahead, apart))
    return found


def _time(begin: Begin) -> datetime:
    return begin.time


def _outside(
    records: Sequence[tuple[str, _Job]], runs: Sequence[_Run]
) -> Iterator[tuple[str, _Job, str, datetime, datetime]]:
    """Where, job, what, and both times, of each start that comes after the run's begin, or end before its last epoch.

    The latest runs and records belong together in their order. Where more records than runs began (a run may end before its
    begin line), a run belongs to the latest record that starts before it. Records that state no start hold any run.
    """
    started = sorted(
        ((job.start, where, job) for where, job in records if job.start is not None), key=lambda each: each[0]
    )
    if not started:
        for run in runs[-1:]:
            yield from _late(*records[-1], run)
        return
    for run, (start, where, job) in zip(runs[-len(started) :], _fitting(started, runs), strict=True):
        if run.begin < start - run.apart:
            yield where, job, "start", run.begin, start
        else:
            yield from _late(where, job, run)


def _fitting(started: Sequence[_Started], runs: Sequence[_Run]) -> list[_Started]:
    """For each of the latest runs the record that it belongs to."""
    if len(runs) >= len(started):
        return list(started)
    before = [[each for each in started if each[0] <= run.begin + run.apart] for run in runs]
    return [each[-1] if each else started[0] for each in before]


def _late(where: str, job: _Job, run: _Run) -> Iterator[tuple[str, _Job, str, datetime, datetime]]:
    if job.end is not None and run.last is not None and run.last > job.end + run.apart and job.ended_by_itself:
        yield where, job, "end", run.last, job.end
