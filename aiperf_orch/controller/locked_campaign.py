"""The campaign as its one controller holds it: lock, journal open for writing, and the state folded from it."""

from __future__ import annotations

import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import aiperf_orch
from aiperf_orch.campaign.changed_settings import write_in_force
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.journal import Journal
from aiperf_orch.campaign.lock import Lock
from aiperf_orch.campaign.plan_file import read_plan_of
from aiperf_orch.campaign.saved_state import save_state
from aiperf_orch.campaign.snapshot import CampaignSnapshot, check_complete
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.records.journal import JOURNAL_FORMAT, Created, Entry, Opened, Resumed
from aiperf_orch.schedulers.script_rendering import scripts_sha256
from aiperf_orch.search import SEARCH_VERSION
from aiperf_orch.util.errors import LockedError

AnyEntry = TypeVar("AnyEntry", bound=Entry)
_SAVE_INTERVAL: Final = 60.0
"""Seconds after which the state is saved again; of 40,000 trials that takes 0.1 s."""


class HeldCampaign:
    """A campaign that is locked and opened by this process.

    Attributes:
        directory: The campaign, with the settings in force.
        state: Its state, up to date with the journal.
    """

    def __init__(
        self,
        directory: CampaignDirectory,
        *,
        resume: bool,
        take_over: bool = False,
        snapshot: CampaignSnapshot | None = None,
    ) -> None:
        """Lock the campaign, read its journal, and record that it is opened.

        Args:
            directory: The campaign.
            resume: Whether a paused or stopped campaign goes on.
            take_over: Take the lock from the controller of another host.
            snapshot: What this process has read of the campaign before. Only what was appended since is read, and the
                state is taken over.

        Raises:
            LockedError: When another controller has the campaign.
            RecordError: When the journal or the frozen settings are damaged.
        """
        self.directory = directory
        with ExitStack() as undo:
            self._lock = Lock.acquire(directory.lock, take_over=take_over)
            undo.callback(self._lock.release)
            known = snapshot.journal if snapshot else None
            self._journal = Journal(directory.journal, self._lock.check_held, self._lock.holder.generation, known)
            undo.callback(self._journal.close)
            self.state = snapshot.state if snapshot and self._journal.number_known else CampaignState()
            self.state.apply_all(self._journal.entries[self._journal.number_known :])
            self._check()
            self.adopt_settings()
            self._saved_at = time.monotonic()
            self._record_opened(resume=resume)
            undo.callback(self._save_state)
            self._undo = undo.pop_all()

    @property
    def generation(self) -> int:
        """Generation of the lock."""
        return self._lock.holder.generation

    @property
    def entries(self) -> list[Entry]:
        """The entries of the journal."""
        return self._journal.entries

    def append(self, kind: type[AnyEntry], **fields: Any) -> AnyEntry:
        """Append an entry to the journal, on disk when this returns, and apply it to the state.

        Raises:
            LockedError: When another controller has taken the campaign over.
            AiperfError: When the entry cannot be written.
        """
        entry = self._journal.append(kind, **fields)
        self.state.apply(entry)
        if time.monotonic() - self._saved_at >= _SAVE_INTERVAL:
            self._save_state()
        return entry

    def adopt_settings(self) -> None:
        """Let `directory` have the settings in force by the journal, and the file of changed settings repeat them."""
        changes = {change.key: change.after for entry in self.state.settings_changes for change in entry.changes}
        write_in_force(self.directory, changes)
        self.directory = replace(self.directory, settings=self.state.settings(self.directory.config.settings))

    def close(self) -> None:
        """Save the state for `status`, close the journal and release the lock."""
        self._undo.close()

    def _save_state(self) -> None:
        """Save the state for `status`; where that fails, `status` takes longer."""
        self._saved_at = time.monotonic()
        with suppress(Exception):  # of any type: it never ends a campaign
            self._lock.check_held()
            save_state(self.directory.saved_state, self.state, self._journal.position)

    def _check(self) -> None:
        """Refuse changed settings, an incomplete journal, and local jobs that run on another host."""
        self.directory.check_unchanged(self.state.settings_sha256)
        check_complete(self.directory, self.directory.attempts_on_disk(), self.state)
        opened, is_local = self.state.opened, self.directory.settings.scheduler.kind == "local"
        if is_local and self.state.live and opened and opened.host != self._lock.holder.host:
            raise LockedError(f"{self.directory.path}: its trials run on {opened.host}: go on with the campaign there")

    def _record_opened(self, *, resume: bool) -> None:
        if not self._journal.entries:
            self.append(
                Created,
                settings_sha256=self.directory.settings_sha256,
                version=aiperf_orch.__version__,
                format=JOURNAL_FORMAT,
                search=SEARCH_VERSION,
                plan=read_plan_of(self.directory),
            )
        holder = self._lock.holder
        self.append(
            Opened,
            host=holder.host,
            pid=holder.pid,
            version=aiperf_orch.__version__,
            search=SEARCH_VERSION,
            templates=scripts_sha256(),
        )
        if resume:
            self.directory.stop_request.unlink(missing_ok=True)
            if self.state.phase in (Phase.PAUSED, Phase.STOPPED):
                self.append(Resumed)
