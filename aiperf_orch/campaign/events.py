"""Events of attempts: claiming a run, appending to its events file, reading files as they grow, and counting epochs.

Creating `events/TRIAL-ATTEMPT.RUN.jsonl` claims the run, in which exactly one process succeeds. The next run's file
supersedes the run: by it a requeued job continues, and the controller reclaims an attempt from a lost job (`revoke`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.durable_files import AppendFile, file_exists, read_file, read_whole_lines
from aiperf_orch.campaign.file_errors import translate_os_errors
from aiperf_orch.campaign.format_versions import EVENTS, NEWER_VERSION, explain_newer, stated_in_line, writer_in
from aiperf_orch.campaign.safe_reading import LONG_RETRY_SECONDS, RETRY_SECONDS, Reader, retry_transient
from aiperf_orch.records.base import EndReason, first_error
from aiperf_orch.records.events import Begin, End, Epoch, event_adapter
from aiperf_orch.records.journal import EventsFile
from aiperf_orch.records.operations import OperationsPerImage
from aiperf_orch.util.errors import AiperfError, TransientError
from aiperf_orch.util.units import clock_ahead, now

_MAX_RUNS: Final = 1000
_MAX_FAULTS: Final = 20  # that are reported for one file


class EventWriter:
    """The events file of a run that this process claimed.

    `clock_skew` is the minimum by which this node's clock is ahead of the file server's, in seconds, at the claim.
    """

    def __init__(self, directory: CampaignDirectory, trial: int, attempt: int, run: int) -> None:
        """Claim a run of an attempt.

        Raises:
            FileExistsError: when another process has claimed it.
            TransientError: when it cannot be claimed for now.
        """
        self._next_run = directory.events(trial, attempt, run + 1)
        before, path = time.time(), directory.events(trial, attempt, run)
        with translate_os_errors(path, passing=FileExistsError, action="claimed"):
            try:
                self._file = AppendFile(path, exclusive=True)
            except FileNotFoundError as error:  # the folder is part of the campaign: its file system is away
                raise TransientError(f"{path}: cannot be claimed for now: {error.strerror}") from error
        self.clock_skew = clock_ahead(before, os.fstat(self._file.descriptor).st_mtime, time.time())

    def append(self, event: Begin | Epoch | End, *, retry_for: float = LONG_RETRY_SECONDS) -> None:
        """Append an event; it is on disk when this returns.

        Args:
            event: the event.
            retry_for: seconds for which transient errors are retried.
        """
        self._file.append(event.to_line() + "\n", retry_for=retry_for)

    def close(self) -> None:
        """Close the file; the claim stays."""
        self._file.close()

    def superseded(self) -> bool:
        """Whether the attempt was reclaimed, or continues in a later run: then this process must exit immediately.

        Raises:
            TransientError: when that could not be determined for minutes.
        """
        return file_exists(self._next_run, retry_for=LONG_RETRY_SECONDS)


def claim(directory: CampaignDirectory, trial: int, attempt: int, run: int) -> EventWriter:
    """Claim a run of an attempt, and earlier runs that ended before they could be claimed.

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
    """Whether a run of an attempt has ended or was superseded; False while that cannot be determined."""
    try:
        if file_exists(directory.events(trial, attempt, run + 1)):
            return True
        read = partial(read_file, retry_for=0.0)
        return b'"type":"end"' in read_whole_lines(directory.events(trial, attempt, run), read=read)[0]
    except (FileNotFoundError, TransientError):
        return False


def revoke(directory: CampaignDirectory, trial: int, attempt: int, reason: EndReason, message: str) -> None:
    """Reclaim an attempt from its job: claim the next run, and write its end line.

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
            writer.close()  # a controller revokes many attempts
        return
    raise AssertionError(f"attempt {trial}-{attempt} has had {_MAX_RUNS} runs")


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """Operations, epochs and digest of a trial's specification; an event that contradicts them is a fault."""

    operations: OperationsPerImage
    epochs: int
    spec_sha256: str


class LineFault(str):
    """Reason why a line does not count, as `file:line: reason`; `kind` is its identifier, as `epoch.operations`."""

    kind: str

    def __new__(cls, kind: str, text: str) -> Self:
        """Create a fault of a kind from its text, which begins with the file or line."""
        fault = super().__new__(cls, text)
        fault.kind = kind
        return fault

    @classmethod
    def at(cls, kind: str, where: object, why: str) -> Self:
        """A fault of a kind in a file or a line."""
        return cls(kind, f"{where}: {why}")


@dataclass
class RunEvents:
    """Events of one run, read as its file grows. A line that cannot count becomes a fault; others still count."""

    path: Path
    trial: int
    attempt: int
    run: int
    planned: TrialPlan
    read: Reader = read_file
    begin: Begin | None = None
    epochs: list[Epoch] = field(default_factory=list)
    end: End | None = None
    faults: list[LineFault] = field(default_factory=list)
    size: int = 0
    claimed: bool = False
    _lines: int = 0
    _foreign: bool = False
    _writer: object = None
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    def poll(self, limit: int | None = None) -> bool:
        """Read complete lines that were added since the last call; returns whether there were any.

        Args:
            limit: size in bytes up to which the file is read; None for the whole file.

        Raises:
            TransientError: when it cannot be read for now; nothing is changed, and a later call reads the lines.
        """
        try:
            data, _ = read_whole_lines(self.path, self.size, self.read)
        except FileNotFoundError:  # determined by opening it: a network file system may cache
            return False
        except TransientError:
            raise
        except AiperfError as error:  # not a regular file: nothing of it counts
            self.claimed, self.faults = True, [LineFault("events.unreadable", str(error))]
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
                self.faults.append(LineFault.at("events.line", self.path, "has further lines that do not count"))
        self._hash.update(data)
        self.size += len(data)
        return bool(data)

    def recorded(self) -> EventsFile:
        """Size and SHA-256 of the part of the file that has been read."""
        return EventsFile(run=self.run, size=self.size, sha256=self._hash.hexdigest())

    def _take(self, line: bytes) -> tuple[str, str] | None:
        """Add a line's event, or return the kind of its fault and the reason why it does not count."""
        try:
            event = event_adapter.validate_json(line, strict=True)
        except ValidationError as error:
            return self._not_an_event(line, first_error(error))
        if (event.trial, event.attempt, event.run) != (self.trial, self.attempt, self.run):
            why = f"trial {event.trial}, attempt {event.attempt}, run {event.run} stand in the file of another run"
            return "events.place", why
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
    """Events of every run of an attempt so far.

    Raises:
        TransientError: when a file cannot be read for now.
    """
    runs: list[RunEvents] = []
    poll_attempt(directory, trial, attempt, planned, runs)
    return runs


def poll_attempt(
    directory: CampaignDirectory,
    trial: int,
    attempt: int,
    planned: TrialPlan,
    runs: list[RunEvents],
    *,
    later_runs: bool = True,
) -> bool:
    """Read new events of the last known run of an attempt and of later runs; returns whether there were any.

    Args:
        directory: the campaign.
        trial: number of the trial.
        attempt: number of the attempt.
        planned: what its specification says of its events.
        runs: its runs as far as they are known; later ones are added.
        later_runs: whether to look for a run after the last known one, which costs one more opened file.

    Raises:
        TransientError: when a file cannot be read for now. What was read before stays in `runs`.
    """
    news = runs[-1].poll() if runs else False
    while later_runs or not runs:
        run = len(runs)
        events = RunEvents(directory.events(trial, attempt, run), trial, attempt, run, planned, directory.read)
        news = events.poll() or news
        if not events.claimed:
            return news
        runs.append(events)
    return news


def count_epochs(epochs: Iterable[Epoch], deadline: datetime | None = None) -> dict[int, Epoch]:
    """Epochs of one trial that count: each once, by the earlier of two ends, and none that ended after the deadline."""
    counted: dict[int, Epoch] = {}
    for epoch in epochs:
        known = counted.get(epoch.epoch)
        if (deadline is None or epoch.end <= deadline) and (known is None or epoch.end < known.end):
            counted[epoch.epoch] = epoch
    return dict(sorted(counted.items()))


def best_epoch(counted: Iterable[Epoch]) -> Epoch | None:
    """The epoch with the smallest validation error, the earliest of equals."""
    return min(counted, key=lambda epoch: (epoch.error, epoch.epoch), default=None)
