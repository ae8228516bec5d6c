"""Be a campaign's controller: its loop runs in a thread, so that signals are acknowledged whatever keeps the loop waiting."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from types import FrameType
from typing import Final

from aiperf_orch.campaign.consistency import CampaignSnapshot
from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.live_view import Display, display
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run as run_loop
from aiperf_orch.schedulers.registry import make_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UncleanExitError
from aiperf_orch.util.signals import handle_signals

_PATIENCE: Final = 5.0
"""Seconds that the loop may take to leave, once that is wanted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a controller left its campaign: `live` trials had not ended, the jobs of `told` of them were told to end."""

    phase: Phase
    interrupted: bool
    live: int
    told: int


class _Signals:
    """Ctrl-C once asks for a clean stop, twice to leave at once; TERM and HUP leave at once, and trials run on."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.leave = False

    def stop_wanted(self) -> bool:
        return self.interrupts > 0

    def leave_wanted(self) -> bool:
        return self.leave or self.interrupts > 1

    @contextmanager
    def handled(self) -> Iterator[None]:
        def handle(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGINT:
                self.interrupts += 1
            else:
                self.leave = True

        with handle_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle):
            yield


class _Loop:
    """The controller's life in a thread: `outcome` or `error` is there when the thread has ended."""

    def __init__(
        self,
        directory: CampaignDirectory,
        view: Display,
        signals: _Signals,
        *,
        take_over: bool,
        resume: bool,
        snapshot: CampaignSnapshot | None,
    ) -> None:
        self._directory, self._view, self._signals = directory, view, signals
        self._take_over, self._resume, self._snapshot = take_over, resume, snapshot
        self._controller: Controller | None = None
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    def live(self) -> int:
        """How many trials the controller knows of that have not ended."""
        return len(self._controller.state.live) if self._controller else 0

    def run(self) -> None:
        """Take the campaign up, and control it until nothing is left to do, or the user ends it."""
        try:
            self._outcome = self._run()
        except BaseException as error:
            self._error = error

    def outcome(self) -> Outcome:
        """How it ended; raises what ended it."""
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            raise AssertionError("the controller's loop has not ended")
        return self._outcome

    def _run(self) -> Outcome:
        scheduler = make_scheduler(self._directory.settings.scheduler)
        controller = self._controller = Controller(
            self._directory,
            scheduler,
            resume=self._resume,
            take_over=self._take_over,
            warn=self._view.warn,
            snapshot=self._snapshot,
        )
        try:
            self._view.show(controller)  # what is new is counted from here
            phase = run_loop(
                controller,
                observe=lambda: self._view.show(controller),
                stop_wanted=self._signals.stop_wanted,
                leave_wanted=self._signals.leave_wanted,
            )
            return Outcome(phase, self._signals.stop_wanted(), len(controller.state.live), controller.cancelled_count)
        finally:
            controller.close()


def control(
    directory: CampaignDirectory, *, take_over: bool, resume: bool = True, snapshot: CampaignSnapshot | None = None
) -> Outcome:
    """Be the campaign's controller until nothing is left to do, or the user ends it.

    Args:
        directory: the campaign.
        take_over: take it from another host's controller.
        resume: a paused or stopped campaign goes on.
        snapshot: what this process has read of the campaign, which the controller need not read again.

    Raises:
        UncleanExitError: when the user wanted to leave, and the campaign's file system does not answer.
        AiperfError: as the controller does.
    """
    signals = _Signals()
    restrict(directory.settings)
    with signals.handled(), display() as view:
        loop = _Loop(directory, view, signals, take_over=take_over, resume=resume, snapshot=snapshot)
        thread = Thread(target=loop.run, name="aiperf-orch controller", daemon=True)
        thread.start()
        acknowledged, leaving_since = 0, None
        while thread.is_alive():
            thread.join(0.1)
            if signals.interrupts > acknowledged:
                acknowledged = signals.interrupts
                _acknowledge(signals, loop.live())
            if signals.leave_wanted():
                leaving_since = leaving_since or time.monotonic()
                if time.monotonic() - leaving_since > _PATIENCE:
                    raise UncleanExitError(
                        f"{directory.path}: its file system does not answer: left without another word in the journal; "
                        "trials run on, and the same command goes on when it answers again"
                    )
    return loop.outcome()


def restrict(settings: SiteSettings) -> None:
    """Nothing that this process writes can be written by others, whatever the user's umask."""
    os.umask(0o027 if settings.campaign.group_readable else 0o077)


def _acknowledge(signals: _Signals, live: int) -> None:
    """Say at once that a Ctrl-C was heard, and what it means."""
    if signals.leave_wanted():
        text = "leaving at once: trials that have not been told to end run on"
    else:
        text = f"stopping: {live} live trial(s) are being told to end; Ctrl-C again leaves at once"
    print(text, file=sys.stderr, flush=True)
