"""Terminal view of a running campaign, redrawn in place; a line for each event where there is no terminal."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from aiperf_orch.campaign.failure_policy import is_failure
from aiperf_orch.campaign.state import Phase
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.commands.attempt_facts import failure_line
from aiperf_orch.commands.escaped_output import unwrapped, visible_streams
from aiperf_orch.commands.messages import messages_through, timed_messages
from aiperf_orch.commands.repeated_messages import RepeatFilter
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.workforce_news import WorkforceNews
from aiperf_orch.commands.workforce_summary import (
    count_slots,
    held_resources,
    is_local,
    summary_line,
    uses_agents,
    waiting_reasons,
)
from aiperf_orch.controller.controller import Controller
from aiperf_orch.controller.progress import progress_of
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import count, format_duration, format_ops, format_time, now

_log: Final = logging.getLogger(__name__)
_RECENT_ENDS: Final = 8
_MAX_ROWS: Final = 40
_MAX_REASONS: Final = 3
_MAX_FAILURES: Final = 5  # messages on failures at once
_SUMMARY_INTERVAL: Final = timedelta(seconds=30)


class Display(Protocol):
    """Display of a running campaign."""

    def show(self, controller: Controller) -> None:
        """Show the present state; called after each step."""

    def warn(self, message: str) -> None:
        """Show a warning."""


@contextmanager
def display() -> Iterator[Display]:
    """The live view if standard error is a terminal, else plain lines."""
    console = Console(file=unwrapped(sys.stderr))
    if not console.is_terminal or console.is_dumb_terminal:
        with timed_messages():
            yield PlainLines()
        return
    with Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False) as live, visible_streams():
        view = LiveView(live, console)
        with messages_through(view.print_message):
            yield view


class _Messages:
    """Messages of a display: warnings, repeated ones at growing intervals, and news of allocations and agents."""

    def __init__(self) -> None:
        self._repeats = RepeatFilter()
        self._workforce_news = WorkforceNews()
        self._ends_seen: int | None = None

    def show_failures(self, controller: Controller) -> None:
        """Log where each attempt failed since the last call, its log, and how its trial is run again."""
        state = controller.state
        if self._ends_seen is None:
            self._ends_seen = len(state.ends)  # an earlier controller has logged them
        failed = [end for end in state.ends[self._ends_seen :] if is_failure(end.reason)]
        self._ends_seen = len(state.ends)
        for end in failed[:_MAX_FAILURES]:
            _log.info("%s", failure_line(controller.directory, state.trials[end.trial].attempts[end.attempt - 1]))
        if more := len(failed[_MAX_FAILURES:]):
            command = command_line(["status", str(controller.directory.path), "--failed"])
            _log.info("%s more failed: %s", count(more, "attempt"), command)

    def warn(self, message: str) -> None:
        """Log a warning, if it is due."""
        if (text := self._repeats.filtered(message)) is not None:
            _log.warning("%s", text)


class LiveView(_Messages):
    """Elapsed and remaining time, running and ended trials, best error and OPS so far, redrawn in place."""

    def __init__(self, live: Live, console: Console) -> None:
        super().__init__()
        self._live, self._console = live, console

    def print_message(self, level: int, text: str) -> None:
        """Print a message above the view."""
        style = "yellow" if level >= logging.WARNING else ""
        self._console.print(Text(visible_lines(text), style=style), highlight=False)

    def show(self, controller: Controller) -> None:
        """Redraw the view."""
        self.show_failures(controller)
        self._workforce_news.show(controller.state.workforce, only_warnings=is_local(controller.settings))
        self._live.update(
            Group(
                Text("\n".join(map(visible, _heading(controller))), style="bold"),
                _running(controller),
                _ended(controller),
            ),
            refresh=True,
        )


class PlainLines(_Messages):
    """A line for each trial that begins or ends, and at intervals a summary of the campaign."""

    def __init__(self) -> None:
        super().__init__()
        self._begins_seen: int | None = None
        self._next_summary = now() + _SUMMARY_INTERVAL

    def show(self, controller: Controller) -> None:
        """Log what is new since the last call."""
        state = controller.state
        self._workforce_news.show(state.workforce, only_warnings=is_local(controller.settings))
        if self._begins_seen is None or self._ends_seen is None:
            # begins and ends that an earlier controller has logged are not new
            self._begins_seen, self._ends_seen = len(state.begins), len(state.ends)
        for attempt in state.begins[self._begins_seen :]:
            hosts = ", ".join(attempt.began.hosts) if attempt.began else ""
            _log.info("trial %d began on %s: %s", attempt.trial, hosts, _origin(state.trials[attempt.trial]))
        self._begins_seen = len(state.begins)
        for end in state.ends[self._ends_seen :]:
            _log.info("trial %d ended: %s", end.trial, _outcome(end))
        self.show_failures(controller)
        if now() >= self._next_summary:
            self._next_summary = now() + _SUMMARY_INTERVAL
            _log.info("%s", " · ".join(_heading(controller)))


def _heading(controller: Controller) -> list[str]:
    """Summary of the campaign in two lines for a narrow terminal, and the reasons why jobs are pending."""
    state, progress = controller.state, progress_of(controller)
    if state.first_begin is None or controller.deadline is None:
        times = "waiting for the first trial to begin"
    elif state.phase is Phase.FINISHED:
        times = f"began {format_time(state.first_begin)}"
    else:
        elapsed, left = now() - state.first_begin, controller.deadline - now()
        times = f"elapsed {_span(elapsed)}, remaining {_span(max(left, timedelta(0)))}"
    if controller.settings.simulated:
        times += " · SIMULATED"
    if state.phase is not Phase.RUNNING:
        times += f" · {state.phase.value}: {state.phase_reason}"
    best = "no error yet" if progress.best_error is None else f"best error {progress.best_error:.2%}"
    watched = controller.live_attempts.values()
    waiting = Counter(each.note for each in watched if each.begin is None)
    halted = Counter(each.note for each in watched if each.begin is not None and each.note)
    lines = [times, f"{trial_counts(controller)} · {best} · {format_ops(progress.ops)}"]
    lines += workforce_lines(controller)
    if uses_agents(controller.settings):
        waiting.clear()  # each waits for a slot of its agent
    for name, reasons in (("halted", halted), ("waiting", waiting)):
        lines += [f"{number} {name}: {why}" for why, number in reasons.most_common(_MAX_REASONS) if why]
    return lines


def trial_counts(controller: Controller) -> str:
    """`3 running, 2 waiting, 14 ended`: a trial waits from its submission or placement until it begins."""
    state, live = controller.state, controller.live_attempts.values()
    begun = [each for each in live if each.begin is not None]
    halted = sum(bool(each.note) for each in begun)
    counts = {
        "running": len(begun) - halted,
        "halted": halted,
        "waiting": len(live) - len(begun),
        "to be retried": len(state.retries),
        "ended": state.trials_ended,
    }
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or name in ("running", "ended"))


def workforce_lines(controller: Controller) -> list[str]:
    """Allocations, agents and their slots, and why allocations wait.

    Nothing where each trial is a job, or where the only agent is that of this machine.
    """
    state = controller.state
    if not uses_agents(controller.settings) or is_local(controller.settings):
        return []
    if state.phase in (Phase.FINISHED, Phase.STOPPED):
        held = held_resources(state, controller.settings)
        return [f"releasing {held}"] if held else []
    running = [live.attempt for live in controller.live_attempts.values() if live.begin is not None]
    slots = count_slots(state, controller.settings, running)
    return [summary_line(controller.directory, state, slots), *waiting_reasons(state.workforce)[:_MAX_REASONS]]


def _running(controller: Controller) -> Table:
    table = _table("running", ["trial"], "network", ["epoch", "error", "best"])
    for watched in sorted(controller.live_attempts.values(), key=lambda each: each.attempt.key)[:_MAX_ROWS]:
        epochs = watched.epochs
        best = min((epoch.error for epoch in epochs), default=None)
        table.add_row(
            str(watched.attempt.trial),
            _shown(watched.note or (_origin(watched.trial) if watched.begin else "starting")),
            f"{epochs[-1].epoch if epochs else 0}/{watched.planned.epochs}",
            _percent(epochs[-1].error if epochs else None),
            _percent(best),
        )
    return table


def _ended(controller: Controller) -> Table:
    table = _table("ended, newest first", ["trial"], "outcome", [])
    for end in reversed(controller.state.ends[-_RECENT_ENDS:]):
        table.add_row(str(end.trial), _shown(_outcome(end)))
    return table


def _table(title: str, before: list[str], text: str, after: list[str]) -> Table:
    """Table with columns of numbers around one column of text, which shrinks on a narrow terminal."""
    table = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="dim", expand=True)
    for column in before:
        table.add_column(column, justify="right", no_wrap=True, min_width=5)
    table.add_column(text, no_wrap=True, overflow="ellipsis", ratio=1)
    for column in after:
        table.add_column(column, justify="right", no_wrap=True, min_width=6)
    return table


def _origin(trial: TrialState) -> str:
    proposal = trial.proposal
    origin = "the seed" if proposal.parent is None else f"trial {proposal.parent}"
    edits = ", ".join(str(edit["kind"]) for edit in proposal.edits)
    return f"network {proposal.network_hash[:8]} from {origin}" + (f" by {edits}" if edits else "")


def _outcome(end: AttemptEnd) -> str:
    retry = "" if end.final else "; to be retried"
    message = f" ({end.message})" if end.message else ""
    error = "no error measured" if end.best_error is None else f"error {end.best_error:.2%} at epoch {end.best_epoch}"
    return f"{end.reason.value}, {error}, {end.epochs} epochs{message}{retry}"


def _shown(text: str) -> Text:
    """Cell without markup: rich would interpret markup in a plain string."""
    return Text(visible(text))


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"


def _span(span: timedelta) -> str:
    return format_duration(int(span.total_seconds()))
