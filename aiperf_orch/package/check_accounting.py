"""Check of the times of trials against the accounting of their jobs, which is independent evidence.

Trials that were placed in allocations are checked in `check_allocation_accounting`.

A line of accounting.jsonl is a JSON object with the `name` of the job and, where known, `start` and `end` (UTC),
`state` and `exit_code`; other keys are ignored. A job that was requeued has one line for each run. Where the accounting
keeps only the last run, the begin lines of earlier runs are not checked.

The accounted end of a job that ended by itself is the end of its processes. The accounted end of a job that the
scheduler ended is the time of that decision, or the time at which a lost node was declared down: the trial may continue
until the controller reclaims its attempt, and epochs of that time count. Such ends are not compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from aiperf_orch.package.clock_tolerance import clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.base import first_error
from aiperf_orch.util.units import Timestamp, format_time

Key = TypeVar("Key")
_ENDED_BY_QUEUE: Final = frozenset(
    {
        *("CANCELLED", "TIMEOUT", "DEADLINE", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REQUEUED", "REVOKED"),  # Slurm
        "DELETED",  # the state that aiperf-orch records for a deleted PBS job
    }
)
_NODE_LOST_EXIT_CODE: Final = "-20"
"""PBS exit code of a job whose node stopped responding: its end is the time at which the server discarded the job."""


class AccountedTimes(BaseModel):
    """The checked fields of an accounting line; other keys are ignored.

    Attributes:
        name: Name of the job.
        start: Start of the run in UTC; None where it is not known.
        end: End of the run in UTC; None where it is not known.
        state: State of the job in the words of the scheduler.
        exit_code: Exit code as the scheduler prints it.
        nodes: Names of the job's nodes; ignored where it is no list.
    """

    name: str
    start: Timestamp | None = None
    end: Timestamp | None = None
    state: str = ""
    exit_code: str = ""
    nodes: Any = None

    @property
    def hosts(self) -> list[str]:
        """Names of its nodes; empty where the line does not list them."""
        return [node for node in self.nodes if isinstance(node, str)] if isinstance(self.nodes, list) else []

    @property
    def ended_by_itself(self) -> bool:
        """Whether its end is that of its processes."""
        return self.state.partition(" ")[0] not in _ENDED_BY_QUEUE and self.exit_code != _NODE_LOST_EXIT_CODE


@dataclass(frozen=True, slots=True)
class AccountingLine:
    """One accounting line and its location in the package."""

    where: str
    job: AccountedTimes


@dataclass(frozen=True, slots=True)
class _Run:
    """One run of an attempt by its events, in the time of its node's clock.

    Attributes:
        begin: time of the begin line.
        last_epoch_end: None when no epoch of the run counts.
        tolerance: permitted difference between the clocks of node and scheduler.
    """

    begin: datetime
    last_epoch_end: datetime | None
    tolerance: timedelta


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """An accounted time that contradicts the events; `field` is `start` or `end`."""

    record: AccountingLine
    field: str
    event_time: datetime
    accounted_time: datetime


def check_accounting(index: PackageIndex) -> None:
    """Compare every accounted job with the events of its attempt, and report begun attempts without an account."""
    if index.directory.accounting.name not in index.package.hashes or index.placement is not None:
        return
    attempts = {record.name: (record.trial, record.attempt) for _, record in index.attempts()}
    jobs = read_accounting(index, attempts, "an attempt")
    runs = _runs(index)
    for key, records in jobs.items():
        for mismatch in _mismatches(records, runs.get(key, ())):
            accounted, event = format_time(mismatch.accounted_time), format_time(mismatch.event_time)
            why = f"{mismatch.record.job.name}: its {mismatch.field} is {accounted}; by its events it is {event}"
            index.faults.add("accounting.time", mismatch.record.where, why)
    trials = index.result.state.trials
    for trial, attempt in sorted(runs.keys() - jobs.keys()):
        if trials[trial].attempts[attempt - 1].job is None:
            continue  # accounting is queried only for jobs that the journal has
        why = f"attempt {attempt} of trial {trial} began, and the scheduler's accounting does not have its job"
        index.faults.add("accounting.missing", index.at_event(trial, attempt, "begin"), why)


def read_accounting(index: PackageIndex, names: Mapping[str, Key], kind: str) -> dict[Key, list[AccountingLine]]:
    """The lines of accounting.jsonl, by the key of their job; other jobs than those of these names are faults.

    Args:
        index: of the package, which has such a file.
        names: names of the jobs, with the key of each.
        kind: what they are, for the message about other ones.
    """
    file = index.directory.accounting
    jobs: defaultdict[Key, list[AccountingLine]] = defaultdict(list)
    for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
        where = f"{file.name}:{number}"
        try:
            job = AccountedTimes.model_validate_json(line, strict=True)
        except ValidationError as error:
            index.faults.add("accounting.format", where, f"not a job: {first_error(error)}")
            continue
        key = names.get(job.name)
        if key is None:
            index.faults.add("accounting.unknown", where, f"{job.name}: is not {kind} of this campaign")
            continue
        jobs[key].append(AccountingLine(where, job))
    return jobs


def _runs(index: PackageIndex) -> dict[tuple[int, int], list[_Run]]:
    """(trial, attempt) -> its runs that began, in order."""
    found: defaultdict[tuple[int, int], list[_Run]] = defaultdict(list)
    for records in index.trials:
        for attempt in records.trial.attempts:
            begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
            begins.sort(key=attrgetter("time"))
            epochs = [epoch for epoch in records.epochs if epoch.attempt == attempt.attempt]
            for begin, after in zip(begins, [*begins[1:], None], strict=False):
                until = after.time if after else datetime.max.replace(tzinfo=begin.time.tzinfo)
                last = max((epoch.end for epoch in epochs if begin.time <= epoch.start < until), default=None)
                ahead = timedelta(seconds=begin.set_ahead)
                found[attempt.key].append(_Run(begin.time - ahead, last and last - ahead, clock_tolerance([begin])))
    return found


def _mismatches(records: Sequence[AccountingLine], runs: Sequence[_Run]) -> Iterator[_Mismatch]:
    """Accounted starts later than the begin of the run, and accounted ends earlier than its last epoch.

    Runs and records are paired from the latest backwards. With more records than begun runs (a run may end before its
    begin line), a run is paired with the latest record that starts before it. When no record states a start, the last
    record is compared with the last run.
    """
    started = [(record.job.start, record) for record in records if record.job.start is not None]
    started.sort(key=itemgetter(0))
    if not started:
        for run in runs[-1:]:
            yield from _late_epochs(records[-1], run)
        return
    for run, (start, record) in zip(runs[-len(started) :], _paired(started, runs), strict=True):
        if run.begin < start - run.tolerance:
            yield _Mismatch(record, "start", run.begin, start)
        else:
            yield from _late_epochs(record, run)


def _paired(
    started: Sequence[tuple[datetime, AccountingLine]], runs: Sequence[_Run]
) -> list[tuple[datetime, AccountingLine]]:
    """The record of each of the latest runs, with its start."""
    if len(runs) >= len(started):
        return list(started)
    candidates = [[each for each in started if each[0] <= run.begin + run.tolerance] for run in runs]
    return [each[-1] if each else started[0] for each in candidates]


def _late_epochs(record: AccountingLine, run: _Run) -> Iterator[_Mismatch]:
    end, last = record.job.end, run.last_epoch_end
    if end is not None and last is not None and last > end + run.tolerance and record.job.ended_by_itself:
        yield _Mismatch(record, "end", last, end)
