"""Reads how a campaign stands, and refuses a journal that is not the whole of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import read_journal
from aiperf_orch.campaign.state import CampaignState
from aiperf_orch.records.journal import Entry
from aiperf_orch.util.errors import RecordError


@dataclass(frozen=True)
class JournalSnapshot:
    """The entries of a journal, read once, and the state that follows from them."""

    entries: list[Entry]
    state: CampaignState


def read_state(directory: CampaignDirectory) -> CampaignState:
    """The state of a campaign; `read_snapshot` lists the errors."""
    return read_snapshot(directory).state


def read_snapshot(directory: CampaignDirectory) -> JournalSnapshot:
    """The state that the journal tells, also while a controller is writing it.

    Raises:
        RecordError: when the journal is damaged or has lost its end, or the frozen settings were changed.
    """
    on_disk = directory.attempts_on_disk()  # before the journal: what is submitted in between is in it
    entries = read_journal(directory.journal)
    state = CampaignState.of(entries)
    directory.check_unchanged(state.settings_sha256)
    check_complete(directory, on_disk, state)
    return JournalSnapshot(entries, state)


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
