"""Holds the trials' own times to what the queue's accounting says of their jobs: independent evidence, where there is any.

A line of accounting.jsonl is a JSON object with the job's `name`, and where the queue knows them `start` and `end` (UTC);
whatever else the queue says stands beside them and is not judged.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ValidationError

from aiperf_orch.records import first_fault
from aiperf_orch.results.evidence import Evidence
from aiperf_orch.units import Timestamp, format_time

_CLOCKS_APART: Final = timedelta(seconds=10)
_Span = tuple[datetime, datetime | None]


class _Job(BaseModel):
    """What is judged of a line."""

    name: str
    start: Timestamp | None = None
    end: Timestamp | None = None


def check_accounting(evidence: Evidence) -> None:
    """Compare every job that the queue accounts for with its attempt's events, and miss those that it does not know."""
    file = evidence.directory.accounting
    if file.name not in evidence.package.hashes:
        return
    attempts = {record.name: (record.trial, record.attempt) for _, record in evidence.attempts()}
    known: set[tuple[int, int]] = set()
    times = _times(evidence)
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
        where = f"{file.name}:{number}"
        try:
            job = _Job.model_validate_json(line)
        except ValidationError as error:
            evidence.faults.add("accounting.format", where, f"not a job: {first_fault(error)}")
            continue
        key = attempts.get(job.name)
        if key is None:
            evidence.faults.add("accounting.unknown", where, f"{job.name}: is no attempt of this campaign")
            continue
        known.add(key)
        for what, ours, outside in _outside(job, times.get(key)):
            why = f"{job.name}: its {what} is {format_time(outside)}, and its events say {format_time(ours)}"
            evidence.faults.add("accounting.time", where, why)
    for trial, attempt in sorted(times.keys() - known):
        why = f"attempt {attempt} of trial {trial} began, and the queue's accounting does not know it"
        evidence.faults.add("accounting.missing", evidence.at_event(trial, attempt, "begin"), why)


def _times(evidence: Evidence) -> dict[tuple[int, int], _Span]:
    """By trial and attempt, its first begin and its last epoch's end, None where it ended none."""
    found: dict[tuple[int, int], _Span] = {}
    for records in evidence.trials:
        for begin in records.begins:
            ends = [epoch.end for epoch in records.epochs if epoch.attempt == begin.attempt]
            first = min(begin.time, found.get((begin.trial, begin.attempt), (begin.time, None))[0])
            found[begin.trial, begin.attempt] = first, max(ends, default=None)
    return found


def _outside(job: _Job, times: _Span | None) -> list[tuple[str, datetime, datetime]]:
    begin, last = times or (None, None)
    found: list[tuple[str, datetime, datetime]] = []
    if job.start is not None and begin is not None and begin < job.start - _CLOCKS_APART:
        found.append(("start", begin, job.start))
    if job.end is not None and last is not None and last > job.end + _CLOCKS_APART:
        found.append(("end", last, job.end))
    return found
