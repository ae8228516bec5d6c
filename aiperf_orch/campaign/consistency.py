"""Reads how a campaign stands, and refuses a journal that is not the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import JournalContents, read_contents
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.util.errors import RecordError


@dataclass(frozen=True, slots=True)
class CampaignSnapshot:
    """Journal and state of a campaign as read at one time; a controller reads on from there."""

    journal: JournalContents
    state: CampaignState


def read_state(directory: CampaignDirectory) -> CampaignState:
    """The state that the journal tells, also while a controller is writing it.

    Raises:
        RecordError: when the journal is damaged or has lost its end, or the frozen settings were changed.
    """
    return read_snapshot(directory).state


def read_snapshot(directory: CampaignDirectory) -> CampaignSnapshot:
    """As `read_state`, with the journal itself, for a controller of this process."""
    on_disk = directory.attempts_on_disk()  # before the journal: what is submitted in between is in it
    journal = read_contents(directory.journal)
    state = CampaignState.of(journal.entries)
    directory.check_unchanged(state.settings_sha256)
    check_complete(directory, on_disk, state)
    return CampaignSnapshot(journal, state)


def check_complete(directory: CampaignDirectory, on_disk: Mapping[int, int], state: CampaignState) -> None:
    """Refuse a journal that does not know of every attempt that wrote events: it has lost its end.

    Args:
        directory: the campaign.
        on_disk: for each trial, the latest attempt that wrote events.
        state: what the journal tells.

    Raises:
        RecordError: naming the first attempt that the journal does not know.
    """
    for trial, attempt in sorted(on_disk.items()):
        known = len(state.trials[trial].attempts) if trial in state.trials else 0
        if attempt > known:
            raise RecordError(
                f"{directory.journal}: ends before the attempt that wrote {directory.events(trial, attempt, 0)}: lines "
                "are missing at its end; restore the newest copy of the journal (nothing was changed)"
            )
