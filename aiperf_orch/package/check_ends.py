"""Check of what the journal states of begins and ends of attempts against their events: begin lines, sums, nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from operator import attrgetter
from typing import Any

from aiperf_orch.campaign.events import best_epoch, count_epochs
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.package.clock_tolerance import clock_tolerance
from aiperf_orch.package.package_index import PackageIndex
from aiperf_orch.records.events import Begin, Epoch
from aiperf_orch.records.journal import AttemptEnd, Began, BeganRecord
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.util.units import format_time

_Begins = Mapping[tuple[int, int, int], Begin]


def check_ends(index: PackageIndex) -> None:
    """Check every entry that an attempt began, and the end of every attempt."""
    begins = {(begin.trial, begin.attempt, begin.run): begin for records in index.trials for begin in records.begins}
    latest: dict[tuple[int, int], int] = {}
    for entry in index.entries:
        if isinstance(entry, Began):
            for began in entry.attempts:
                _check_began(index, entry, began, begins)
                key = began.trial, began.attempt
                if began.run <= latest.get(key, -1):
                    why = f"run {began.run} of attempt {key[1]} of trial {key[0]} began before"
                    index.faults.add("attempt.began", f"{MEMBERS.journal}:{entry.seq + 1}", why)
                latest[key] = began.run
    for records in index.trials:
        _check_trial(index, records)


def _check_began(index: PackageIndex, entry: Began, began: BeganRecord, begins: _Begins) -> None:
    """A begin in the journal is a begin line, which the controller had read."""
    name = f"attempt {began.attempt} of trial {began.trial}"
    begin = begins.get((began.trial, began.attempt, began.run))
    if begin is None:
        if (began.trial, began.attempt) in index.ended:
            why = f"{name} began, and ended without a begin line of run {began.run}"
            index.faults.add("attempt.began", index.at_end(began.trial, began.attempt), why)
        return
    where = f"{MEMBERS.events(began.trial, began.attempt, began.run)}:1"
    for field in ("time", "hosts", "job"):
        if getattr(began, field) != getattr(begin, field):
            index.faults.add(
                "attempt.began", where, f"{field}: is not what the journal recorded when the attempt began"
            )
    if begin.time > entry.time + clock_tolerance([begin]):
        recorded = f"{MEMBERS.journal}:{entry.seq + 1} recorded it ({format_time(entry.time)})"
        index.faults.add("attempt.time", where, f"begins at {format_time(begin.time)}, after {recorded}")


def _check_trial(index: PackageIndex, records: TrialRecords) -> None:
    """Check the end of each attempt, whose sums are those of the trial so far."""
    by_attempt: defaultdict[int, list[Epoch]] = defaultdict(list)
    for epoch in sorted([*records.epochs, *records.uncounted], key=attrgetter("attempt", "run", "epoch")):
        by_attempt[epoch.attempt].append(epoch)
    deadline = index.result.deadline
    known: dict[int, Epoch] = {}
    for attempt in records.trial.attempts:
        own = by_attempt[attempt.attempt]
        before = set(known)
        known = count_epochs([*known.values(), *own], deadline)
        if attempt.end is not None:
            begins = [begin for begin in records.begins if begin.attempt == attempt.attempt]
            progressed = bool({epoch.epoch for epoch in own if epoch.epoch in known} - before)
            _check_end(index, attempt.end, begins, known, progressed=progressed)


def _check_end(
    index: PackageIndex, end: AttemptEnd, begins: list[Begin], known: Mapping[int, Epoch], *, progressed: bool
) -> None:
    best = best_epoch(known.values())
    expected: dict[str, int | float | bool | datetime | list[str] | None] = {
        "epochs": len(known),
        "train_images": sum(epoch.train_images for epoch in known.values()),
        "val_images": sum(epoch.val_images for epoch in known.values()),
        "ops": sum(epoch.ops for epoch in known.values()),
        "best_error": best.error if best else None,
        "best_epoch": best.epoch if best else None,
        "last_end": max((epoch.end for epoch in known.values()), default=None),
        "first_begin": min((begin.time for begin in begins), default=None),
        "progressed": progressed,
    }
    if begins and begins[-1].run == max((file.run for file in end.files), default=None):
        expected["hosts"] = begins[-1].hosts  # otherwise 0.1.0 states those that the queue knew
    for field, value in expected.items():
        stated: Any = getattr(end, field)
        if stated != value:
            why = f"trial {end.trial}: {field}: {stated} stated; by its events it is {value}"
            index.faults.add("attempt.sums", index.at_end(end.trial, end.attempt), why)
