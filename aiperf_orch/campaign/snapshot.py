"""Reading a campaign's state, with a check that the journal is complete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import JournalContents, iterate_journal, read_contents, read_on
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.util.errors import RecordError
from aiperf_orch.util.progress import begin_part


@dataclass(frozen=True, slots=True)
class CampaignSnapshot:
    """Journal and state of a campaign as read at one time; a controller reads on from there."""

    journal: JournalContents
    state: CampaignState


def read_state(directory: CampaignDirectory) -> CampaignState:
    """The state of a campaign, in less memory than `read_snapshot`, which lists the errors."""
    on_disk = directory.attempts_on_disk()  # before the journal, which then has what is submitted meanwhile
    state = CampaignState.of(iterate_journal(directory.journal))
    directory.check_unchanged(state.settings_sha256)
    check_complete(directory, on_disk, state)
    return state


def read_further(directory: CampaignDirectory, snapshot: CampaignSnapshot) -> CampaignSnapshot:
    """The snapshot at a later time: entries that were appended are added to its lists and its state.

    Raises:
        RecordError: when the journal is damaged.
        TransientError: when it cannot be read for now.
    """
    known = len(snapshot.journal.entries)
    journal = read_on(directory.journal, snapshot.journal)
    snapshot.state.apply_all(journal.entries[known:])
    return CampaignSnapshot(journal, snapshot.state)


def read_snapshot(directory: CampaignDirectory) -> CampaignSnapshot:
    """The journal and the state that follows from it, also while a controller is writing it.

    Raises:
        RecordError: when the journal is damaged or its end is missing, or the frozen settings were changed.
    """
    on_disk = directory.attempts_on_disk()  # before the journal, which then has what is submitted meanwhile
    begin_part("reading the journal")
    journal = read_contents(directory.journal)
    state = CampaignState.of(journal.entries)
    directory.check_unchanged(state.settings_sha256)
    check_complete(directory, on_disk, state)
    return CampaignSnapshot(journal, state)


def check_complete(directory: CampaignDirectory, on_disk: Mapping[int, int], state: CampaignState) -> None:
    """Refuse a journal that lacks an attempt that wrote events: its end is missing.

    Args:
        directory: the campaign directory.
        on_disk: trial -> latest attempt that wrote events.
        state: the state according to the journal.

    Raises:
        RecordError: naming the first attempt that the journal lacks.
    """
    known = {trial.trial: len(trial.attempts) for trial in state.trials.values()}
    known |= zip(state.older.trials, state.older.attempts, strict=True)
    for trial, attempt in sorted(on_disk.items()):
        if attempt > known.get(trial, 0):
            raise RecordError(
                f"{directory.journal}: ends before the attempt that wrote {directory.events(trial, attempt, 0)}: lines "
                "are missing at its end; restore the newest copy of the journal (nothing was changed)"
            )
