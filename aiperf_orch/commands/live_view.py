"""Terminal view of a running campaign, redrawn in place; a line for each event where there is no terminal."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from heapq import nsmallest
from typing import Final, Protocol

from rich.console import Console
from rich.text import Text

from aiperf_orch.campaign.failure_policy import DELIBERATE, is_failure
from aiperf_orch.campaign.state import CampaignState, Phase
from aiperf_orch.campaign.trial_state import TrialState
from aiperf_orch.commands.attempt_facts import failure_line
from aiperf_orch.commands.escaped_output import unwrapped, visible_streams
from aiperf_orch.commands.live_layout import Outcome, Picture, RunningTrial, layout
from aiperf_orch.commands.messages import messages_through, timed_messages
from aiperf_orch.commands.remaining_time import estimated_seconds, progress_text
from aiperf_orch.commands.repeated_messages import RepeatFilter
from aiperf_orch.commands.self_invocation import command_line
from aiperf_orch.commands.terminal_screen import Screen, standard_error_above
from aiperf_orch.commands.workforce_news import WorkforceNews
from aiperf_orch.commands.workforce_summary import (
    count_slots,
    held_resources,
    is_local,
    summary_line,
    uses_agents,
    waiting_reasons,
)
from aiperf_orch.controller.attempt_monitor import LiveAttempt
from aiperf_orch.controller.progress import FollowedCampaign, progress_of
from aiperf_orch.records.journal import AttemptEnd
from aiperf_orch.util.text import visible, visible_lines
from aiperf_orch.util.units import count, format_duration, format_ops, format_second, now

_log: Final = logging.getLogger(__name__)
_RECENT_ENDS: Final = 8
_MOST_RUNNING: Final = 400  # as many as a large terminal can show
_MAX_REASONS: Final = 3
_MAX_FAILURES: Final = 5  # messages on failures at once
_SUMMARY_INTERVAL: Final = timedelta(seconds=30)
_FAILED_STYLE: Final = "red"
_RETRIED_STYLE: Final = "yellow"
_DELIBERATE_STYLE: Final = "dim"
_BEST_STYLE: Final = "green"


class Display(Protocol):
    """Display of a running campaign."""

    def show(self, campaign: FollowedCampaign) -> None:
        """Show the present state; called after each step."""

    def adapt(self) -> None:
        """Show the last state again if the terminal's size has changed; called several times a second."""

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
    screen = Screen(console)
    view = LiveView(screen)
    try:
        with standard_error_above(screen), visible_streams(), messages_through(view.print_message):
            yield view
    finally:
        screen.close()


class _Messages:
    """Messages of a display: warnings, repeated ones at growing intervals, and news of allocations and agents."""

    def __init__(self) -> None:
        self._repeats = RepeatFilter()
        self._workforce_news = WorkforceNews()
        self._ends_seen: int | None = None

    def show_failures(self, campaign: FollowedCampaign) -> None:
        """Log where each attempt failed since the last call, its log, and how its trial is run again."""
        state = campaign.state
        if self._ends_seen is None:
            self._ends_seen = len(state.ends)  # an earlier controller has logged them
        failed = [end for end in state.ends[self._ends_seen :] if is_failure(end.reason)]
        self._ends_seen = len(state.ends)
        for end in failed[:_MAX_FAILURES]:
            _log.info("%s", failure_line(campaign.directory, state.trials[end.trial].attempts[end.attempt - 1]))
        if more := len(failed[_MAX_FAILURES:]):
            command = command_line(["status", str(campaign.directory.path), "--failed"])
            _log.info("%s more failed: %s", count(more, "attempt"), command)

    def adapt(self) -> None:
        """Nothing: lines that were printed stay."""

    def warn(self, message: str) -> None:
        """Log a warning, if it is due."""
        if (text := self._repeats.filtered(message)) is not None:
            _log.warning("%s", text)


class LiveView(_Messages):
    """Progress, running trials and latest outcomes of a campaign, redrawn in place."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen
        self._picture: Picture | None = None

    def print_message(self, level: int, text: str) -> None:
        """Print a message above the view."""
        self._screen.print_above(Text(visible_lines(text), style="yellow" if level >= logging.WARNING else ""))

    def show(self, campaign: FollowedCampaign) -> None:
        """Redraw the view."""
        self.show_failures(campaign)
        self._workforce_news.show(campaign.state.workforce, only_warnings=is_local(campaign.settings))
        self._picture = picture(campaign)
        self._draw(self._picture)

    def adapt(self) -> None:
        """Redraw the view if the terminal's size has changed."""
        if self._picture is not None and self._screen.is_resized:
            self._draw(self._picture)

    def _draw(self, shown: Picture) -> None:
        self._screen.draw(layout(shown, *self._screen.size))


class PlainLines(_Messages):
    """A line for each trial that begins or ends, and at intervals a summary of the campaign."""

    def __init__(self) -> None:
        super().__init__()
        self._begins_seen: int | None = None
        self._next_summary = now() + _SUMMARY_INTERVAL

    def show(self, campaign: FollowedCampaign) -> None:
        """Log what is new since the last call."""
        state = campaign.state
        self._workforce_news.show(state.workforce, only_warnings=is_local(campaign.settings))
        if self._begins_seen is None or self._ends_seen is None:
            # begins and ends that an earlier controller has logged are not new
            self._begins_seen, self._ends_seen = len(state.begins), len(state.ends)
        for attempt in state.begins[self._begins_seen :]:
            hosts = ", ".join(attempt.began.hosts) if attempt.began else ""
            _log.info("trial %d began on %s: %s", attempt.trial, hosts, _origin(state.trials[attempt.trial]))
        self._begins_seen = len(state.begins)
        for end in state.ends[self._ends_seen :]:
            _log.info("trial %d ended: %s", end.trial, _outcome(end))
        self.show_failures(campaign)
        if now() >= self._next_summary:
            self._next_summary = now() + _SUMMARY_INTERVAL
            _log.info("%s", " · ".join(summary_lines(campaign)))


def picture(campaign: FollowedCampaign) -> Picture:
    """What the live view shows of a campaign."""
    begun = [each for each in campaign.live_attempts.values() if each.begin is not None]
    shown = nsmallest(_MOST_RUNNING, begun, key=lambda each: each.attempt.key)
    ends = reversed(campaign.state.ends[-_RECENT_ENDS:])
    return Picture(
        tuple(heading(campaign)),
        tuple(map(_running_trial, shown)),
        waiting_line(campaign),
        tuple(_outcome_row(campaign.state, end) for end in ends),
        more_running=len(begun) - len(shown),
    )


def summary_lines(campaign: FollowedCampaign) -> list[str]:
    """Summary of the campaign without colours: the heading, and what waits."""
    return [*(line.plain for line in heading(campaign)), *filter(None, [waiting_line(campaign)])]


def heading(campaign: FollowedCampaign) -> list[Text]:
    """Summary of the campaign: time, numbers of trials and failures, the best trial, agents, and what is halted."""
    state, progress = campaign.state, progress_of(campaign)
    best = Text("no error yet")
    if progress.best_error is not None:
        best = Text(f"best error {progress.best_error:.2%}, trial {progress.best_trial}", style=_BEST_STYLE)
    counts = Text(trial_counts(campaign))
    if state.failures:
        attempts = len(state.ends) + len(state.live)
        counts.append(" · ").append(f"{state.failures:,} of {count(attempts, 'attempt')} failed", style=_FAILED_STYLE)
    halted = Counter(each.note for each in campaign.live_attempts.values() if each.begin is not None and each.note)
    lines = [*workforce_lines(campaign), *(f"{number} halted: {why}" for why, number in _most_common(halted))]
    return [
        Text(visible(_times(campaign)), style="bold"),
        counts,
        Text.assemble(best, f" · {format_ops(progress.ops)}", " · SIMULATED" if campaign.settings.simulated else ""),
        *(Text(visible(line)) for line in lines),
    ]


def _times(campaign: FollowedCampaign) -> str:
    """Elapsed time, trials that are over, and the time left."""
    state, settings, time = campaign.state, campaign.settings, now()
    estimate = estimated_seconds(state, settings, _shares(campaign), time)
    if state.first_begin is None:
        began = "waiting for the first trial to begin"
    elif state.phase is Phase.FINISHED:
        began = f"began {format_second(state.first_begin)}"
    else:
        began = f"elapsed {format_duration(int((time - state.first_begin).total_seconds()))}"
    phase = "" if state.phase is Phase.RUNNING else f"{state.phase.value}: {state.phase_reason}"
    return " · ".join(filter(None, [began, progress_text(state, settings, estimate, time), phase]))


def _shares(campaign: FollowedCampaign) -> Iterator[float]:
    """Trained share of each trial that is not over."""
    for live in campaign.live_attempts.values():
        yield len(live.epochs) / live.planned.epochs
    for trial in campaign.state.retries.values():
        last = trial.attempts[-1].end
        yield (last.epochs if last else 0) / campaign.settings.training.epochs_of_round(trial.proposal.round)


def waiting_line(campaign: FollowedCampaign) -> str:
    """What waits, with the scheduler's reasons: `8 waiting: 5 Priority; 3 Resources`; empty where none is known."""
    if uses_agents(campaign.settings):
        return ""  # each waits for a slot of its agent
    notes = Counter(each.note for each in campaign.live_attempts.values() if each.begin is None)
    total, reasons = notes.total(), _most_common(notes)
    if not reasons:
        return ""
    if len(notes) == 1:
        return visible(f"{total} waiting: {reasons[0][0]}")
    return visible(f"{total} waiting: " + "; ".join(f"{number} {why}" for why, number in reasons))


def _most_common(notes: Counter[str]) -> list[tuple[str, int]]:
    return [(why, number) for why, number in notes.most_common(_MAX_REASONS + 1) if why][:_MAX_REASONS]


def trial_counts(campaign: FollowedCampaign) -> str:
    """`3 running, 2 waiting, 14 ended`."""
    counts = count_trials(campaign)
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number or name in ("running", "ended"))


def count_trials(campaign: FollowedCampaign) -> dict[str, int]:
    """State -> number of trials: a trial waits from its submission or placement until it begins."""
    state, live = campaign.state, campaign.live_attempts.values()
    begun = [each for each in live if each.begin is not None]
    halted = sum(bool(each.note) for each in begun)
    return {
        "running": len(begun) - halted,
        "halted": halted,
        "waiting": len(live) - len(begun),
        "to be retried": len(state.retries),
        "ended": state.trials_ended,
    }


def workforce_lines(campaign: FollowedCampaign) -> list[str]:
    """Allocations, agents and their slots, and why allocations wait.

    Nothing where each trial is a job, or where the only agent is that of this machine.
    """
    state = campaign.state
    if not uses_agents(campaign.settings) or is_local(campaign.settings):
        return []
    if state.phase in (Phase.FINISHED, Phase.STOPPED):
        held = held_resources(state, campaign.settings)
        return [f"releasing {held}"] if held else []
    running = [live.attempt for live in campaign.live_attempts.values() if live.begin is not None]
    slots = count_slots(state, campaign.settings, running)
    return [summary_line(campaign.directory, state, slots), *waiting_reasons(state.workforce)[:_MAX_REASONS]]


def _running_trial(live: LiveAttempt) -> RunningTrial:
    epochs = live.epochs
    return RunningTrial(
        live.attempt.trial,
        f"{epochs[-1].epoch if epochs else 0}/{live.planned.epochs}",
        _percent(epochs[-1].error if epochs else None),
        _percent(min((epoch.error for epoch in epochs), default=None)),
        _node(live.begin.hosts if live.begin else []),
        visible(live.note or _origin(live.trial).removeprefix("network ")),
        is_halted=bool(live.note),
    )


def _outcome_row(state: CampaignState, end: AttemptEnd) -> Outcome:
    attempt = state.trials[end.trial].attempts[end.attempt - 1]
    retried = "" if end.final else "to be retried" if attempt is state.trials[end.trial].attempts[-1] else "retried"
    style = _DELIBERATE_STYLE if end.reason in DELIBERATE else ""
    if is_failure(end.reason):
        style = _FAILED_STYLE if end.final else _RETRIED_STYLE
    elif end.final and end.trial == state.best_trial:
        style = _BEST_STYLE
    return Outcome(
        end.trial,
        end.reason.value,
        _percent(end.best_error),
        end.epochs,
        _node(end.hosts),
        visible(attempt.latest_job or ""),
        visible("; ".join(filter(None, [retried, end.message]))),
        style,
    )


def _node(hosts: Sequence[str]) -> str:
    """The first node, and the number of the others: `n1 +3`."""
    more = f" +{len(hosts) - 1}" if len(hosts) > 1 else ""
    return visible(hosts[0]) + more if hosts else ""


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


def _percent(error: float | None) -> str:
    return "" if error is None else f"{error:.2%}"
