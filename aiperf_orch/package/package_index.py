"""What an opened package says, read once for all checks: its journal, its state, its result, and where each fact stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from aiperf_orch.campaign.consistency import check_complete
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.format_versions import NEWER_VERSION
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.layout import MEMBERS
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.package.findings import Faults
from aiperf_orch.package.reading import Package
from aiperf_orch.records.events import event_adapter
from aiperf_orch.records.journal import AttemptRecord, Ended, Entry, Submitting
from aiperf_orch.results.collect import TrialRecords
from aiperf_orch.results.result import Result, result_of
from aiperf_orch.util.errors import AiperfError, NewerVersionError, RecordError


@dataclass(frozen=True)
class PackagedCampaign(CampaignDirectory):
    """A package's files, where a campaign's would be."""

    package: Package

    def read(self, path: Path, *, offset: int = 0) -> bytes:
        """From the package's copy."""
        return self.package.read(str(path.relative_to(self.path)))[offset:]

    def events_on_disk(self) -> list[str]:
        """Those in the package."""
        folder = f"{MEMBERS.events_folder}/"
        return [name.removeprefix(folder) for name in self.package.places if name.startswith(folder)]


@dataclass(frozen=True)
class Evidence:
    """A package's records. `submitted` and `ended` give, by trial and attempt, the journal's line and its time."""

    package: Package
    entries: Sequence[Entry]
    result: Result
    faults: Faults
    submitted: dict[tuple[int, int], tuple[int, datetime]] = field(default_factory=dict)
    ended: dict[tuple[int, int], tuple[int, datetime]] = field(default_factory=dict)

    @property
    def directory(self) -> CampaignDirectory:
        """The package's folder, opened as a campaign's directory."""
        return self.result.directory

    @property
    def trials(self) -> list[TrialRecords]:
        """Every trial with its begins, its epochs that count, and its ends."""
        return self.result.collected.trials

    def attempts(self) -> Iterator[tuple[int, AttemptRecord]]:
        """Every submitted attempt, with the journal's line that says so."""
        for entry in self.entries:
            if isinstance(entry, Submitting):
                for record in entry.attempts:
                    yield entry.seq + 1, record

    def at_submission(self, trial: TrialState) -> str:
        """The journal's line that a trial was proposed in."""
        return f"{MEMBERS.journal}:{self.submitted[trial.attempts[0].key][0]}"

    def at_end(self, trial: int, attempt: int) -> str:
        """The journal's line that an attempt's end stands in."""
        return f"{MEMBERS.journal}:{self.ended[trial, attempt][0]}"

    def at_event(self, trial: int, attempt: int, kind: str, epoch: int | None = None) -> str:
        """File and line of an attempt's begin, epoch or end; looked for only when there is something to say of it."""
        prefix = str(MEMBERS.events(trial, attempt, 0)).removesuffix(".0.jsonl")
        for name in sorted(name for name in self.package.places if name.startswith(f"{prefix}.")):
            for number, line in enumerate(self.package.read(name).split(b"\n"), start=1):
                try:
                    event = event_adapter.validate_json(line)
                except ValueError:
                    continue
                if event.type == kind and (epoch is None or getattr(event, "epoch", None) == epoch):
                    return f"{name}:{number}"
        return prefix


def gather(package: Package, faults: Faults) -> Evidence | None:
    """Read a package's records; None, and a fault that says why, when they are not a campaign's."""
    step = "settings.format"
    try:
        opened = CampaignDirectory.open(package.folder)
        directory = PackagedCampaign(opened.path, opened.config, opened.settings_sha256, package)
        step = "journal.chain"
        entries = read_journal(directory.journal)
        step = "journal.order"
        state = CampaignState.of(entries)
        if state.settings_sha256 is None:
            raise RecordError(f"{MEMBERS.journal}: does not begin with the campaign's creation")
        step = "settings.hash"
        directory.check_unchanged(state.settings_sha256)
        step = "journal.complete"
        check_complete(directory, directory.attempts_on_disk(), state)
        step = "records.unreadable"
        result = result_of(directory, state)
    except (AiperfError, OSError) as error:
        step = NEWER_VERSION if isinstance(error, NewerVersionError) else step
        faults.add(step, *place_of(str(error), package.folder))
        return None
    told = [place_of(fault, package.folder) for fault in result.faults]
    for fault, (where, why) in zip(result.faults, told, strict=True):
        faults.add(getattr(fault, "kind", "events.unreadable"), where, why)
    result = replace(result, faults=[f"{where}: {why}" for where, why in told])
    evidence = Evidence(package, entries, result, faults)
    for entry in entries:
        found = evidence.submitted if isinstance(entry, Submitting) else evidence.ended
        for record in entry.attempts if isinstance(entry, Submitting | Ended) else ():
            found[record.trial, record.attempt] = (entry.seq + 1, entry.time)
    return evidence


def place_of(fault: str, folder: Path) -> tuple[str, str]:
    """Place and sentence of a fault that the campaign's own readers found: paths are the package's."""
    text = fault.replace(f"{folder}/", "").replace(str(folder), "the package")
    where, _, why = text.partition(": ")
    return where, why.partition("; restore ")[0]
