"""Events of running trials: claiming an attempt, appending to its events, reading them as they grow, counting epochs.

Creating `events/TRIAL-ATTEMPT.RUN.jsonl` is the claim, and exactly one process manages it. The next run's file
supersedes the run before: that is how a requeued job goes on, and how the controller takes an attempt from a job that
it has given up (`revoke`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import AppendFile, file_exists, read_file, read_whole_lines, translate_os_errors
from aiperf_orch.campaign.format_versions import EVENTS, NEWER_VERSION, explain_newer, stated_in_line, writer_in
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, RETRY_SECONDS, Reader, retry_transient
from aiperf_orch.records.base import EndReason, EnergyOf, OperationsPerImage, first_error
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.journal import EventsFile
from aiperf_orch.util.errors import AiperfError, TransientError
from aiperf_orch.util.units import clock_ahead, now

_MAX_RUNS: Final = 1000
_MAX_FAULTS: Final = 20  # told of one file


class EventWriter:
    """The events file of an attempt that this process claimed.

    `clock_skew` is how far this node's clock is ahead of the file server's, at least, in seconds, seen at the claim.
    """

    def __init__(self, directory: CampaignDirectory, trial: int, attempt: int, run: int) -> None:
        """Claim the run of an attempt.

        Raises:
            FileExistsError: when another process has claimed it.
            TransientError: when it cannot be claimed for now.
        """
        self._next_run = directory.events(trial, attempt, run + 1)
        before, path = time.time(), directory.events(trial, attempt, run)
        with translate_os_errors(path, passing=FileExistsError, action="claimed"):
            self._file = AppendFile(path, exclusive=True)
        self.clock_skew = clock_ahead(before, os.fstat(self._file.descriptor).st_mtime, time.time())

    def append(self, event: Begin | Epoch | End, *, retry_for: float = LONG_RETRY_SECONDS) -> None:
        """Append an event; it is on disk when this returns.

        Args:
            event: the event.
            retry_for: seconds of trying again when an error may pass.
        """
        self._file.append(event.to_line() + "\n", retry_for=retry_for)

    def close(self) -> None:
        """Let go of the file; the claim stays."""
        self._file.close()

    def superseded(self) -> bool:
        """Whether the attempt was given up, or goes on in a later run: then this one must exit at once.

        Raises:
            TransientError: when that could not be told for minutes.
        """
        return file_exists(self._next_run, retry_for=LONG_RETRY_SECONDS)


def claim(directory: CampaignDirectory, trial: int, attempt: int, run: int) -> EventWriter:
    """Claim a run of an attempt, and with it the runs before it that were ended before they could claim theirs.

    Raises:
        FileExistsError: when another process has claimed it, or the attempt has ended.
        TransientError: when it cannot be claimed for now.
    """
    for earlier in range(run):
        path = directory.events(trial, attempt, earlier)
        with suppress(FileExistsError):
            EventWriter(directory, trial, attempt, earlier)
        if b'"type":"end"' in read_whole_lines(path)[0]:
            raise FileExistsError(errno.EEXIST, "the attempt has ended", str(path))
    return EventWriter(directory, trial, attempt, run)


def run_ended(directory: CampaignDirectory, trial: int, attempt: int, run: int) -> bool:
    """Whether a run of an attempt has ended, or was taken over; not while that cannot be told."""
    try:
        if file_exists(directory.events(trial, attempt, run + 1)):
            return True
        read = partial(read_file, retry_for=0.0)
        return b'"type":"end"' in read_whole_lines(directory.events(trial, attempt, run), read=read)[0]
    except (FileNotFoundError, TransientError):
        return False


def revoke(directory: CampaignDirectory, trial: int, attempt: int, reason: EndReason, message: str) -> None:
    """Take an attempt from its job, wherever that may be: claim its next run, and end it.

    Raises:
        TransientError: when that cannot be done for now.
    """
    for run in range(_MAX_RUNS):
        try:
            writer = retry_transient(partial(EventWriter, directory, trial, attempt, run))
        except FileExistsError:
            continue
        end = End(trial=trial, attempt=attempt, run=run, time=now(), reason=reason, message=message)
        try:
            writer.append(end, retry_for=RETRY_SECONDS)
        finally:
            writer.close()  # a controller revokes many
        return
    raise AssertionError(f"attempt {trial}-{attempt} has had {_MAX_RUNS} runs")


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What a trial's specification says of its events: a line that contradicts it is a fault."""

    operations: OperationsPerImage
    epochs: int
    spec_sha256: str


class LineFault(str):
    """Why a line cannot count, as `file:line: why` for a person; `kind` names it for programs, as `epoch.operations`."""

    kind: str

    @classmethod
    def at(cls, kind: str, where: object, why: str) -> LineFault:
        """The fault of a kind at a place."""
        fault = cls(f"{where}: {why}")
        fault.kind = kind
        return fault


@dataclass
class RunEvents:
    """The events of one run, read as its file grows. A line that cannot count is a fault, and the rest still counts."""

    path: Path
    trial: int
    attempt: int
    run: int
    planned: TrialPlan
    read: Reader = read_file
    begin: Begin | None = None
    epochs: list[Epoch] = field(default_factory=list)
    end: End | None = None
    faults: list[str] = field(default_factory=list)
    size: int = 0
    claimed: bool = False
    _lines: int = 0
    _foreign: bool = False
    _writer: object = None
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def poll(self, limit: int | None = None) -> bool:
        """Read what has been added, up to a size in bytes if one is given; tells whether there was anything.

        Raises:
            TransientError: when it could not be read for now: then all is as before, and it can be read later.
        """
        try:
            data, _ = read_whole_lines(self.path, self.size, self.read)
        except FileNotFoundError:  # on a network file system only opening it tells
            return False
        except TransientError:
            raise
        except AiperfError as error:  # not a file: nothing of it counts
            self.claimed, self.faults = True, [str(error)]
            return False
        self.claimed = True
        if limit is not None:
            data = data[: max(limit - self.size, 0)]
        for line in data.split(b"\n")[:-1]:
            self._lines += 1
            fault = self._take(line)
            if fault and len(self.faults) < _MAX_FAULTS:
                kind, why = fault
                self.faults.append(LineFault.at(kind, f"{self.path}:{self._lines}", why))
            elif fault and len(self.faults) == _MAX_FAULTS:
                self.faults.append(LineFault.at("events.line", self.path, "has more lines that do not count"))
        self._hash.update(data)
        self.size += len(data)
        return bool(data)

    def recorded(self) -> EventsFile:
        """What of the file has been read: its size and SHA-256."""
        return EventsFile(run=self.run, size=self.size, sha256=self._hash.hexdigest())

    def _take(self, line: bytes) -> tuple[str, str] | None:
        """Keep what a line says, or tell the kind of its fault and why it does not count."""
        try:
            event = event_adapter.validate_json(line)
        except ValidationError as error:
            return self._not_an_event(line, first_error(error))
        if (event.trial, event.attempt, event.run) != (self.trial, self.attempt, self.run):
            stands = f"trial {event.trial}, attempt {event.attempt}, run {event.run} stand in another's file"
            return "events.place", stands
        if self._foreign and not isinstance(event, End):
            return "events.specification", f"{event.type}: stands in a run of another specification, and does not count"
        if self.end:
            return "events.order", f"{event.type}: stands after the end line, and does not count"
        match event:
            case Begin():
                if self.begin:
                    return "events.order", "begin: stands twice"
                if event.spec_sha256 != self.planned.spec_sha256:
                    self._foreign = True
                    why = "begin: its specification is not the one in the journal: nothing of this run counts"
                    return "events.specification", why
                self.begin, self._writer = event, writer_in(event.versions)
            case Epoch():
                fault = self._epoch_fault(event)
                if fault:
                    return fault[0], f"epoch {event.epoch}: {fault[1]}, and does not count"
                self.epochs.append(event)
            case End():
                self.end = event
        return None

    def _not_an_event(self, line: bytes, fault: str) -> tuple[str, str]:
        """Kind and reason for a line that could not be validated; its writer stands in the run's begin line."""
        stated = stated_in_line(line)
        if "versions" in stated:
            self._writer = writer_in(stated["versions"])
        newer = explain_newer(EVENTS, stated.get("format"), self._writer, fault)
        if newer:
            return NEWER_VERSION, f"{newer}; the line does not count"
        return "events.line", f"not an event: {fault}: the line does not count"

    def _epoch_fault(self, event: Epoch) -> tuple[str, str] | None:
        expected = self.planned.operations.of_images(trained=event.train_images, validated=event.val_images)
        wrong = round(event.error * event.val_images)
        if self.begin is None:
            return "epoch.order", "stands before the begin line"
        if event.ops != expected:
            return "epoch.operations", f"ops: {event.ops} stated, but its images need {expected}"
        if event.error != wrong / event.val_images:
            return "epoch.error", f"error: {event.error} is not a whole number of {event.val_images} images"
        if event.end < event.start or event.start < self.begin.time:
            return "epoch.time", "ends before it starts, or starts before the trial"
        if event.epoch > self.planned.epochs or (self.epochs and event.epoch <= self.epochs[-1].epoch):
            return "epoch.order", f"out of order, or beyond the {self.planned.epochs} epochs of its specification"
        if self.epochs and event.start < self.epochs[-1].end:
            return "epoch.overlap", "starts before the epoch before it has ended"
        return None


def read_attempt(directory: CampaignDirectory, trial: int, attempt: int, planned: TrialPlan) -> list[RunEvents]:
    """The events of every run of an attempt so far.

    Raises:
        TransientError: when a file could not be read for now.
    """
    runs: list[RunEvents] = []
    poll_attempt(directory, trial, attempt, planned, runs)
    return runs


def poll_attempt(
    directory: CampaignDirectory, trial: int, attempt: int, planned: TrialPlan, runs: list[RunEvents]
) -> bool:
    """Read on in the last known run of an attempt, and in new runs after it; tells whether there was anything new.

    Raises:
        TransientError: when a file could not be read for now. What was read before it is in `runs`.
    """
    news = runs[-1].poll() if runs else False
    while True:
        run = len(runs)
        events = RunEvents(directory.events(trial, attempt, run), trial, attempt, run, planned, directory.read)
        news = events.poll() or news
        if not events.claimed:
            return news
        runs.append(events)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """What counts of an epoch line, in a fifth of the record's memory: a score of many trials holds all of theirs."""

    trial: int
    attempt: int
    epoch: int
    start: datetime
    end: datetime
    train_images: int
    val_images: int
    error: float
    ops: int
    batch: int
    skipped: int = 0
    data_wait: float | None = None
    energy: float | None = None
    energy_of: EnergyOf | None = None

    @classmethod
    def of(cls, epochs: Iterable[Epoch]) -> list[EpochRow]:
        """The rows of records; what is the same in many of them is one object: whole numbers, and the time zone."""
        same: dict[int, int] = {}

        def shared(value: Any) -> Any:
            if type(value) is int:
                return same.setdefault(value, value)
            return value.astimezone(timezone.utc) if type(value) is datetime else value

        return [cls(*map(shared, _row(epoch))) for epoch in epochs]


_row: Final = attrgetter(*EpochRow.__slots__)
AnyEpoch = TypeVar("AnyEpoch", Epoch, EpochRow)


def count_epochs(epochs: Iterable[AnyEpoch], deadline: datetime | None = None) -> dict[int, AnyEpoch]:
    """The epochs of one trial that count: each once, the earlier of two ends, and none that ended past the deadline."""
    counted: dict[int, AnyEpoch] = {}
    for epoch in epochs:
        known = counted.get(epoch.epoch)
        if (deadline is None or epoch.end <= deadline) and (known is None or epoch.end < known.end):
            counted[epoch.epoch] = epoch
    return dict(sorted(counted.items()))


def best_epoch(counted: Iterable[AnyEpoch]) -> AnyEpoch | None:
    """The epoch of least validation error, the earliest of equals."""
    return min(counted, key=lambda epoch: (epoch.error, epoch.epoch), default=None)
