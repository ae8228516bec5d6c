"""Index of an opened package, built once for all checks: journal, state, result, and locations of records."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.events import LineFault
from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.snapshot import check_complete
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.reading import Package
from aiperf_orch.records.events import event_adapter
from aiperf_orch.records.journal import AttemptRecord, Ended, Entry, Joined, Submitting
from aiperf_orch.results.collected_trials import TrialRecords
from aiperf_orch.results.result import Result, result_of
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.settings.placement import PlacementSettings, placement_settings
from aiperf_orch.util.errors import AiperfError, NewerVersionError, RecordError

MOST_ATTEMPTS: Final = 99
"""Attempts of one trial in a package: the names of its events files have two digits for them."""
_MOST_RUNS: Final = 1000
"""Runs of one attempt in a package: the names of its events files have three digits for them."""


@dataclass(frozen=True)
class PackagedCampaign(CampaignDirectory):
    """The files of a package, read as those of a campaign directory."""

    package: Package

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """Read a file of the package."""
        return self.package.read(str(path.relative_to(self.path)))[offset:]

    def events_on_disk(self) -> list[str]:
        """Names of the events files in the package."""
        folder = f"{MEMBERS.events_folder}/"
        return [name.removeprefix(folder) for name in self.package.locations if name.startswith(folder)]


@dataclass(frozen=True)
class PackageIndex:
    """Records of a package.

    Attributes:
        package: the opened package.
        entries: of its journal.
        result: computed from its records.
        faults: collects the faults that checks find.
        submitted: (trial, attempt) -> line number and time of its submission in the journal.
        ended: (trial, attempt) -> line number and time of its end in the journal.
        joined: agent -> line number of the journal entry that it joined, for the first time.
        located: (trial, attempt) -> file and line of its events by type and epoch, where a fault needed them.
    """

    package: Package
    entries: Sequence[Entry]
    result: Result
    faults: Faults
    submitted: dict[tuple[int, int], tuple[int, datetime]] = field(default_factory=dict)
    ended: dict[tuple[int, int], tuple[int, datetime]] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)
    located: dict[tuple[int, int], dict[tuple[str, int | None], str]] = field(default_factory=dict)

    @property
    def directory(self) -> CampaignDirectory:
        """The folder of the package, opened as a campaign directory."""
        return self.result.directory

    @cached_property
    def _settings_from(self) -> list[tuple[int, SiteSettings]]:
        """Number of the first journal entry to which settings apply, and these settings; in order."""
        state = self.result.state
        starts = [0, *(entry.seq + 1 for entry in state.settings_changes)]
        return list(zip(starts, state.settings_history(self.directory.config.settings), strict=True))

    def settings_at(self, seq: int) -> SiteSettings:
        """The settings in force when the journal entry with this number was written."""
        return self._settings_from[bisect_right(self._settings_from, seq, key=itemgetter(0)) - 1][1]

    @property
    def placement(self) -> PlacementSettings | None:
        """How trials are placed on agents; None where each trial is a job of its own."""
        settings = self.directory.settings
        return placement_settings(settings.scheduler, settings.campaign.concurrency)

    @property
    def trials(self) -> list[TrialRecords]:
        """Every trial with its begin lines, counted epochs and end lines."""
        return self.result.collected.trials

    def attempts(self) -> Iterator[tuple[int, AttemptRecord]]:
        """Submitted attempts, each with its line number in the journal."""
        for entry in self.entries:
            if isinstance(entry, Submitting):
                for record in entry.attempts:
                    yield entry.seq + 1, record

    def at_submission(self, trial: TrialState) -> str:
        """File and line of the submission of a trial's first attempt."""
        return f"{MEMBERS.journal}:{self.submitted[trial.attempts[0].key][0]}"

    def at_end(self, trial: int, attempt: int) -> str:
        """File and line of the journal entry that records the end of an attempt."""
        return f"{MEMBERS.journal}:{self.ended[trial, attempt][0]}"

    def at_event(self, trial: int, attempt: int, kind: str, epoch: int | None = None) -> str:
        """File and line of an event; searched on demand, once for each attempt, since only listed faults need it."""
        prefix = str(MEMBERS.events(trial, attempt, 0)).removesuffix(".0.jsonl")
        if self.faults.is_full:
            return prefix
        if (trial, attempt) not in self.located:
            self.located[trial, attempt] = self._locate(trial, attempt)
        return self.located[trial, attempt].get((kind, epoch), prefix)

    def _locate(self, trial: int, attempt: int) -> dict[tuple[str, int | None], str]:
        """File and line of the first event of each type, and of each epoch, of an attempt."""
        found: dict[tuple[str, int | None], str] = {}
        for run in range(_MOST_RUNS):
            name = str(MEMBERS.events(trial, attempt, run))
            if name not in self.package.locations:
                continue
            for number, line in enumerate(self.package.read(name).split(b"\n"), start=1):
                try:
                    event = event_adapter.validate_json(line)
                except ValueError:
                    continue
                for epoch in {None, getattr(event, "epoch", None)}:
                    found.setdefault((event.type, epoch), f"{name}:{number}")
        return found


def index_package(package: Package, faults: Faults) -> PackageIndex | None:
    """Index the records of a package; None, with a fault, when they cannot be read as a campaign."""
    step = "settings.format"
    try:
        opened = CampaignDirectory.open(package.folder)
        frozen = opened.config.settings
        directory = PackagedCampaign(opened.path, opened.config, opened.settings_sha256, frozen, package=package)
        step = "journal.chain"
        entries = read_journal(directory.journal)
        step = "journal.order"
        state = CampaignState.of(entries)
        step = "settings.change"
        directory = replace(directory, settings=state.settings(frozen))
        step = "journal.order"
        if state.settings_sha256 is None:
            raise RecordError(f"{MEMBERS.journal}: does not begin with the campaign's creation")
        step = "journal.attempts"
        _check_numbers(state)
        step = "settings.hash"
        directory.check_unchanged(state.settings_sha256)
        step = "journal.complete"
        check_complete(directory, directory.attempts_on_disk(), state)
        step = "records.unreadable"
        result = result_of(directory, state)
    except (AiperfError, OSError) as error:
        step = NEWER_VERSION if isinstance(error, NewerVersionError) else step
        faults.add(step, *_split_message(str(error), package.folder))
        return None
    located = [(fault.kind, *_split_message(fault, package.folder)) for fault in result.faults]
    for kind, where, why in located:
        faults.add(kind, where, why)
    result = replace(result, faults=[LineFault.at(*fault) for fault in located])
    index = PackageIndex(package, entries, result, faults)
    for entry in entries:
        found = index.submitted if isinstance(entry, Submitting) else index.ended
        for record in entry.attempts if isinstance(entry, Submitting | Ended) else ():
            found[record.trial, record.attempt] = (entry.seq + 1, entry.time)
        for agent in entry.agents if isinstance(entry, Joined) else ():
            index.joined.setdefault(agent.agent, entry.seq + 1)
    return index


def _check_numbers(state: CampaignState) -> None:
    """Refuse trials with more attempts than any campaign makes, before anything compares them with one another.

    Raises:
        RecordError: naming the trial.
    """
    for trial in state.trials.values():
        if len(trial.attempts) > MOST_ATTEMPTS:
            why = f"trial {trial.trial} has {len(trial.attempts)} attempts; no campaign makes more than {MOST_ATTEMPTS}"
            raise RecordError(f"{MEMBERS.journal}: {why}")


def _split_message(message: str, folder: Path) -> tuple[str, str]:
    """Split an error message of the campaign's readers into location, relative to the package, and reason."""
    text = message.replace(f"{folder}/", "").replace(str(folder), "the package")
    where, _, why = text.partition(": ")
    return where, why.partition("; restore ")[0]
