"""Controller of a campaign in this process: its loop runs in a thread, so that signals are acknowledged at once.

A scheduler or a file system that does not answer blocks only that thread.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from types import FrameType
from typing import Final

from aiperf_orch.campaign.directory import CampaignDirectory
from aiperf_orch.campaign.snapshot import CampaignSnapshot
from aiperf_orch.campaign.state import Phase
from aiperf_orch.commands.commitment import announce_commitment
from aiperf_orch.commands.live_view import Display, display
from aiperf_orch.commands.metrics_file import MetricsFile
from aiperf_orch.commands.running_report import RunningReport, report_command
from aiperf_orch.commands.workforce_summary import held_resources
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.loop import run as run_loop
from aiperf_orch.schedulers.registry import make_trial_scheduler
from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.errors import UncleanExitError
from aiperf_orch.util.signals import handle_signals

_log: Final = logging.getLogger(__name__)
_LEAVE_TIMEOUT: Final = 5.0
"""Seconds that the loop may take to return after the user has asked to leave."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a controller left its campaign.

    Attributes:
        phase: Phase of the campaign.
        interrupted: The user pressed Ctrl-C.
        live: Number of attempts that had not ended.
        cancelled: Number of those whose jobs were signalled to end.
    """

    phase: Phase
    interrupted: bool
    live: int
    cancelled: int


class _Signals:
    """SIGINT once requests a clean stop, twice to leave at once; SIGTERM and SIGHUP to leave at once, trials run on."""

    def __init__(self) -> None:
        self.interrupts = 0
        self.terminated = False

    def stop_requested(self) -> bool:
        return self.interrupts > 0

    def leave_requested(self) -> bool:
        return self.terminated or self.interrupts > 1

    @contextmanager
    def handled(self) -> Iterator[None]:
        def handle(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGINT:
                self.interrupts += 1
            else:
                self.terminated = True

        with handle_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), handle):
            yield


class _ControllerThread:
    """Runs the controller's loop; `outcome` returns or raises its result after the thread has ended."""

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
        self._metrics = MetricsFile(view.warn)
        self._controller: Controller | None = None
        self.held = ""
        """Allocations and agents that the campaign held after the last step, in words."""
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None
        self.thread = Thread(target=self._target, name="aiperf-orch controller", daemon=True)

    def live_attempts(self) -> int:
        """Number of attempts that have not ended, as far as the controller has read the journal."""
        return len(self._controller.state.live) if self._controller else 0

    def outcome(self) -> Outcome:
        """How the loop ended; raises the error that ended it."""
        if self._error is not None:
            raise self._error
        if self._outcome is None:
            raise AssertionError("the controller's loop has not ended")
        return self._outcome

    def _target(self) -> None:
        try:
            self._outcome = self._run()
        except BaseException as error:
            self._error = error

    def _run(self) -> Outcome:
        scheduler = make_trial_scheduler(self._directory)
        controller = self._controller = Controller(
            self._directory,
            scheduler,
            resume=self._resume,
            take_over=self._take_over,
            warn=self._view.warn,
            snapshot=self._snapshot,
        )
        report = RunningReport(report_command(self._directory.path))
        try:
            announce_commitment(self._directory)
            self._observe(controller, report)  # new begins and ends are counted from here
            phase = run_loop(
                controller,
                observe=lambda: self._observe(controller, report),
                stop_wanted=self._signals.stop_requested,
                leave_wanted=self._signals.leave_requested,
            )
            self._metrics.write(controller)
            return Outcome(
                phase, self._signals.stop_requested(), len(controller.state.live), controller.cancelled_count
            )
        finally:
            report.close()
            controller.close()

    def _observe(self, controller: Controller, report: RunningReport) -> None:
        self._view.show(controller)
        report.step()
        self._metrics.update(controller)
        self.held = held_resources(controller.state, controller.settings)


def run_controller(
    directory: CampaignDirectory, *, take_over: bool, resume: bool = True, snapshot: CampaignSnapshot | None = None
) -> Outcome:
    """Control a campaign until nothing is left to do, or the user stops it or leaves.

    Args:
        directory: The campaign.
        take_over: Take it over from a controller on another host.
        resume: A paused or stopped campaign goes on.
        snapshot: What this process has read of the campaign, which the controller does not read again.

    Raises:
        UncleanExitError: when the user wants to leave, and the campaign's file system does not answer.
        AiperfError: as the controller does.
    """
    signals = _Signals()
    restrict_umask(directory.settings)
    with signals.handled(), display() as view:
        controller = _ControllerThread(directory, view, signals, take_over=take_over, resume=resume, snapshot=snapshot)
        controller.thread.start()
        acknowledged, leaving_since = 0, None
        while controller.thread.is_alive():
            controller.thread.join(0.1)
            view.adapt()
            if signals.interrupts > acknowledged:
                acknowledged = signals.interrupts
                _acknowledge(signals, controller.live_attempts(), controller.held)
            if signals.leave_requested():
                leaving_since = leaving_since or time.monotonic()
                if time.monotonic() - leaving_since > _LEAVE_TIMEOUT:
                    raise UncleanExitError(
                        f"{directory.path}: its file system does not answer: left without a last journal entry; "
                        "trials run on, and the same command goes on when it answers again"
                    )
    return controller.outcome()


def restrict_umask(settings: SiteSettings) -> None:
    """Set the umask so that others cannot write any file that this process makes."""
    os.umask(0o027 if settings.campaign.group_readable else 0o077)


def _acknowledge(signals: _Signals, live: int, held: str) -> None:
    """Log at once that a Ctrl-C was received, and its effect."""
    if signals.leave_requested():
        _log.info("leaving at once: trials whose jobs were not signalled to end run on")
    else:
        released = f", and {held} released" if held else ""
        _log.info("stopping: %d live trial(s) are being ended%s; press Ctrl-C again to leave at once", live, released)
